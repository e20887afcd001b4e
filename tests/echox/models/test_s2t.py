"""S2T: speech in the prompt, padding, what is trained."""

from dataclasses import replace

import pytest
import torch

from echox.errors import EchoxError
from echox.models.ragged import Ragged
from echox.models.s2t import S2T
from echox.objectives import S2TLossConfig, s2t_objective
from tests.echox.models.shapes import ARCHITECTURE, PLACEHOLDER, inputs, one_input


@pytest.fixture
def model() -> S2T:
    torch.manual_seed(0)
    return S2T(ARCHITECTURE, PLACEHOLDER).eval()


def test_speech_stands_where_the_placeholder_was(model: S2T) -> None:
    heard = Ragged(torch.randn(2, 3, 32), torch.tensor([3, 1]))
    prefix = model.insert(heard, Ragged.of([[10, PLACEHOLDER, 11], [PLACEHOLDER, 12]]))
    words = model.llm.embed(torch.tensor([10, 11, 12]))
    assert torch.equal(prefix.rows()[0], torch.cat([words[:1], heard.values_BL[0], words[1:2]]))
    assert torch.equal(prefix.rows()[1], torch.cat([heard.values_BL[1, :1], words[2:]]))


@pytest.mark.parametrize("prompt", [[10, 11], [PLACEHOLDER, PLACEHOLDER]])
def test_a_prompt_has_one_placeholder(model: S2T, prompt: list[int]) -> None:
    with pytest.raises(EchoxError, match="exactly once"):
        model.insert(Ragged(torch.randn(1, 3, 32), torch.tensor([3])), Ragged.of([prompt]))


def test_padding_changes_no_loss(model: S2T) -> None:
    batch, config = inputs(), S2TLossConfig()
    together = s2t_objective(model(batch), config)
    alone = [s2t_objective(model(one_input(batch, index)), config) for index in range(3)]
    response = sum(each.parts["response"].item() * each.count for each in alone) / 12
    ctc = (alone[0].parts["ctc"].item() + alone[2].parts["ctc"].item()) / 2  # the second has no transcript
    assert together.count == sum(each.count for each in alone) == 12
    assert together.total.item() / 12 == pytest.approx(response + config.ctc_weight * ctc, abs=1e-5)


def test_what_is_frozen_stays_to_the_bit() -> None:
    torch.manual_seed(0)
    architecture = replace(
        ARCHITECTURE,
        encoder=replace(ARCHITECTURE.encoder, trainable=False),
        llm=replace(ARCHITECTURE.llm, trainable="lora"),
    )
    model = S2T(architecture, PLACEHOLDER)
    model.freeze()
    model.train()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    s2t_objective(model(inputs()), S2TLossConfig()).total.backward()
    optimizer.step()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {name for name in before if name.startswith("adapter.") or ".lora." in name}


def test_every_trained_weight_gets_a_gradient(model: S2T) -> None:
    model.freeze()
    model.train()
    s2t_objective(model(inputs()), S2TLossConfig()).total.backward()
    without = [
        name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert without == []
