"""Echo training: its inputs, padding, what is trained, and where it starts."""

from dataclasses import replace

import pytest
import torch

from echox.models.echo import Echo, Segments
from echox.models.ragged import Ragged
from echox.models.t2c import T2C
from echox.objectives import EchoLossConfig, echo_objective
from tests.echox.models.shapes import ARCHITECTURE, PLACEHOLDER, inputs, one, one_input

WORD_IDS = Ragged.of([[1, 2, 3], [4], [5, 6, 7, 8], [9]])
WITHOUT_S2T = EchoLossConfig(s2t_weight=0)
SEGMENTS = Segments(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 2, 0, 1]), torch.tensor([2, 1, 1, 4]))


@pytest.fixture
def model() -> Echo:
    torch.manual_seed(0)
    return Echo(ARCHITECTURE, PLACEHOLDER).eval()


def test_it_speaks_from_denoised_states_and_compares_them_with_the_text_they_predict(model: Echo) -> None:
    batch = inputs()
    output = model(batch, SEGMENTS, WORD_IDS)
    states = model.s2t(batch).states.rows()
    expected = [states[0][:2], states[0][2:3], states[1][:1], states[2][1:5]]
    for found, state_TH in zip(output.denoised.rows(), expected, strict=True):
        torch.testing.assert_close(found, model.denoising(state_TH))
    tokens = [[20, 21], [22], [23], [25, 26, 27, 28]]
    for found, ids in zip(output.text.rows(), tokens, strict=True):
        assert torch.equal(found, model.s2t.llm.table[torch.tensor(ids)])
    assert not output.text.values_BL.requires_grad
    wrapped = model.words.wrap_states(output.denoised, model.s2t.llm.embed)
    torch.testing.assert_close(model.words(wrapped, WORD_IDS).logits_NV, output.words.logits_NV)


@pytest.mark.parametrize("config", [WITHOUT_S2T, replace(WITHOUT_S2T, denoising="dynamic")])
def test_padding_changes_no_loss(model: Echo, config: EchoLossConfig) -> None:
    batch, words = inputs(), Ragged.of([[1, 2, 3], [], [5, 6, 7, 8]])
    whole = Segments.whole(batch.response.lengths_B)
    for index in range(3):
        segment = Segments(*(part[index : index + 1] for part in (whole.example_S, whole.start_S, whole.lengths_S)))
        single = one_input(batch, index)
        padded = echo_objective(model(batch, segment, one(words, index)), config)
        alone = echo_objective(model(single, Segments.whole(single.response.lengths_B), one(words, index)), config)
        assert padded.total.item() == pytest.approx(alone.total.item(), abs=1e-5)


def test_the_echo_decoder_starts_as_t2c_and_leaves_it_behind() -> None:
    torch.manual_seed(0)
    model = Echo(ARCHITECTURE, PLACEHOLDER)
    torch.nn.init.normal_(model.t2c.head.weight)
    model.start_from_t2c()
    model.freeze()
    model.train()
    assert all(torch.equal(a, b) for a, b in zip(model.t2c.parameters(), model.words.parameters(), strict=True))
    assert not model.t2c.training
    assert not model.s2t.training
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    echo_objective(model(inputs(), SEGMENTS, WORD_IDS), WITHOUT_S2T).total.backward()
    optimizer.step()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {name for name in before if name.startswith(("denoising.", "words."))}


def test_with_s2t_what_its_stage_trains_is_trained_too(model: Echo) -> None:
    model.freeze(train_s2t=True)
    model.train()
    assert model.s2t.llm.training
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(name.startswith(("s2t.llm.", "denoising.", "words.")) for name in trained)
    assert "s2t.llm.model.final_proj.weight" in trained
    assert not [name for name in trained if name.startswith("t2c.") or name.endswith("embed.weight")]
    output = model(inputs(), SEGMENTS, WORD_IDS, with_response=True)
    echo_objective(output, EchoLossConfig(s2t_weight=1.0)).total.backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == trained


def test_t2c_inside_echo_reads_the_same_text_as_alone(model: Echo) -> None:
    alone = T2C(ARCHITECTURE.t2c, model.s2t.llm.table)
    alone.words.load_state_dict(model.t2c.state_dict())
    text = Ragged.of([[20, 21], [22]])
    for found, expected in zip(model.text_prefix(text).rows(), alone.prefix(text).rows(), strict=True):
        assert torch.equal(found, expected)
