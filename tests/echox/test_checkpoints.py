"""Hugging Face folders: found, damaged, of another shape."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from echox.checkpoints import check_fields, load_weights, read_config, read_tensors
from echox.errors import EchoxError


def test_a_prefix_is_chosen_and_taken_off_across_files(tmp_path: Path) -> None:
    save_file({"a.x": torch.ones(2), "b.y": torch.zeros(1)}, tmp_path / "one.safetensors")
    save_file({"a.z": torch.ones(3)}, tmp_path / "two.safetensors")
    weights = {"a.x": "one.safetensors", "b.y": "one.safetensors", "a.z": "two.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    assert sorted(read_tensors(tmp_path, "a.")) == ["x", "z"]
    assert len(read_tensors(tmp_path)) == 3


def test_what_does_not_fit_is_named() -> None:
    tensors = {"weight": torch.zeros(2, 3), "scale": torch.zeros(1)}
    with pytest.raises(EchoxError, match=r"bias is missing; scale is unknown; weight is \(2, 3\), not \(4, 3\)"):
        load_weights(nn.Linear(3, 4), tensors, Path("there"))


def test_weights_take_the_modules_precision() -> None:
    module = nn.Linear(3, 4, dtype=torch.bfloat16)
    load_weights(module, {"weight": torch.ones(4, 3), "bias": torch.ones(4)}, Path("there"))
    assert module.weight.dtype == torch.bfloat16
    assert bool((module.weight == 1).all())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("other.txt", "", "neither model.safetensors nor"),
        ("model.safetensors", "no tensors", "cannot be read as safetensors"),
        ("model.safetensors.index.json", "{", "not JSON"),
        ("model.safetensors.index.json", "{}", "has no weight_map"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "gone.safetensors"}}', r"gone\.safetensors: cannot"),
    ],
)
def test_damaged_folders_are_told(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(EchoxError, match=message):
        read_tensors(tmp_path)


def test_a_config_is_there_and_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(EchoxError, match=r"no config\.json"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text('{"width": 3, "depth": 2}')
    check_fields(tmp_path, {"width": 3, "unsaid": 1})
    with pytest.raises(EchoxError, match="width is 3, not 4; depth is 2, not 1"):
        check_fields(tmp_path, {"width": 4, "depth": 1})
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(EchoxError, match="not a JSON object"):
        read_config(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_that_are_not_finite_are_named(value: float, dtype: torch.dtype, tmp_path: Path) -> None:
    module = nn.Linear(3, 4)
    tensors = {name: torch.ones_like(tensor, dtype=dtype) for name, tensor in module.state_dict().items()}
    tensors["weight"][3, 1] = value
    save_file(tensors, tmp_path / "model.safetensors")
    before = module.weight.clone()
    with pytest.raises(EchoxError, match="NaN or infinite values in weight; fetch or train these weights again"):
        load_weights(module, read_tensors(tmp_path), tmp_path)
    assert torch.equal(module.weight, before)


def test_integers_and_empty_tensors_are_finite() -> None:
    module = nn.BatchNorm1d(2)
    module.register_buffer("nothing", torch.empty(0))
    load_weights(module, module.state_dict(), Path("there"))
