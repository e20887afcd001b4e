"""LoRA: starts as nothing, learns alone, merges away."""

from dataclasses import replace

import torch

from echox.models.language_model import LanguageModel, LanguageModelConfig
from echox.models.lora import LoraConfig, merge_lora
from tests.echox.models.shapes import ARCHITECTURE

CONFIG = replace(
    ARCHITECTURE.llm, trainable="lora", lora=LoraConfig(rank=4, alpha=8.0, dropout=0.5, targets=("q", "k", "v", "o"))
)


def make(config: LanguageModelConfig = CONFIG) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(config)
    model.freeze()
    return model


def shake(model: LanguageModel) -> None:
    for name, parameter in model.named_parameters():
        if ".lora." in name:
            torch.nn.init.normal_(parameter, std=0.3)


def test_a_fresh_update_changes_nothing() -> None:
    torch.manual_seed(0)
    plain, updated = LanguageModel(replace(CONFIG, trainable="all")).eval(), make().eval()
    updated.load_state_dict(plain.state_dict(), strict=False)
    x_BLH = torch.randn(2, 5, 32)
    assert torch.equal(plain.states(x_BLH), updated.states(x_BLH))


def test_the_update_is_alpha_over_rank_times_the_product() -> None:
    model = make().eval()
    shake(model)
    projection = model.model.decoder.get_submodule("layers.0.self_attn.k_proj")
    x = torch.randn(3, 32)
    lora = projection.get_submodule("lora")
    down_RI, up_OR = lora.get_parameter("down_RI"), lora.get_parameter("up_OR")
    expected = x @ projection.get_parameter("weight").T + 8.0 / 4 * (x @ down_RI.T @ up_OR.T)
    torch.testing.assert_close(projection(x), expected)


def test_merged_weights_give_the_same_logits() -> None:
    model = make().eval()
    shake(model)
    x_BLH = torch.randn(2, 7, 32)
    with torch.no_grad():
        before = model.logits(model.states(x_BLH))
        merge_lora(model)
        after = model.logits(model.states(x_BLH))
    assert float((before - after).abs().max()) <= 1e-5
    assert not [name for name in model.state_dict() if "lora" in name]


def test_only_updates_learn_and_the_rest_stays_to_the_bit() -> None:
    model = make().train()
    shake(model)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.logits(model.states(torch.randn(2, 7, 32))).square().sum().backward()
    optimizer.step()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {name for name in before if ".lora." in name}
    assert len(changed) == 2 * 4 * CONFIG.decoder.layers


def test_targets_are_those_that_are_named() -> None:
    model = make(replace(CONFIG, lora=LoraConfig(targets=("q", "v"))))
    owners = {name.split(".lora.")[0].rpartition(".")[2] for name in model.state_dict() if ".lora." in name}
    assert owners == {"q_proj", "v_proj"}
