from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from echox.models.initial import InitialWeights
from echox.models.language_model import LanguageModel
from echox.models.lora import LoraConfig
from echox.trainer.parallel import checkpoint_activations
from tests.echox.models.shapes import ARCHITECTURE

LORA = replace(ARCHITECTURE.llm, trainable="lora", lora=LoraConfig(rank=4))


@pytest.mark.parametrize("trainable", ["lora", "all"])
@pytest.mark.parametrize("recomputed", [False, True])
def test_a_model_computes_as_it_did_and_then_as_it_does(tmp_path: Path, trainable: str, recomputed: bool) -> None:
    torch.manual_seed(0)
    model = LanguageModel(LORA if trainable == "lora" else ARCHITECTURE.llm).eval()
    model.freeze()
    inputs_BLH = torch.randn(2, 5, 32)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]

    def compute() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=True), torch.no_grad():
            return model.logits(model.states(inputs_BLH))

    def change() -> None:
        for weight in model.parameters():
            if weight.requires_grad:
                weight.data.add_(torch.randn_like(weight) * 0.2)

    change()  # LoRA's second factor is no longer zero
    save_file({f"llm.{name}": tensor for name, tensor in model.state_dict().items()}, tmp_path / "model.safetensors")
    before = compute()
    initial = InitialWeights.read(tmp_path / "model.safetensors", trained, "llm.")
    assert initial.num_bytes == sum(weight.numel() * 4 for weight in model.parameters() if weight.requires_grad)
    change()
    if recomputed:
        checkpoint_activations(model, 1)
    after = compute()
    assert not torch.equal(before, after)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():  # one context: casts of weights are kept
        assert torch.equal(model.logits(model.states(inputs_BLH)), after)
        with initial.inside(model):
            assert torch.equal(model.logits(model.states(inputs_BLH)), before)
        assert torch.equal(model.logits(model.states(inputs_BLH)), after)
    with pytest.raises(ZeroDivisionError), initial.inside(model):
        _ = 1 / 0
    assert torch.equal(compute(), after), "a failure inside gives the weights back too"
