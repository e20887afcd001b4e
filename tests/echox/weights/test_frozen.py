"""Files that a run refers to, and states without frozen weights."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from echox.errors import EchoxError
from echox.weights.frozen import REFERENCES, check_references, keep_own, leave_out_frozen, recall_own, refer


def referred(folder: Path) -> Path:
    file = folder / "model.safetensors"
    save_file({"weight": torch.ones(3)}, file)
    refer(folder, [file])
    return file


def test_files_that_are_as_they_were_pass(tmp_path: Path) -> None:
    assert not check_references(tmp_path), "a run that refers to none yet"
    file = referred(tmp_path)
    assert check_references(tmp_path)
    os.utime(file, ns=(1, 1))
    assert check_references(tmp_path), "copied or touched, with the same content"


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    file = referred(tmp_path)
    file.unlink()
    with pytest.raises(EchoxError, match=rf"^{file}: cannot be read \(No such file .*the run in {tmp_path}; bring it"):
        check_references(tmp_path)


@pytest.mark.parametrize("value", [torch.zeros(3), torch.zeros(4)])
def test_a_file_that_changed_is_named(tmp_path: Path, value: torch.Tensor) -> None:
    file = referred(tmp_path)
    save_file({"weight": value}, file)
    os.utime(file, ns=(1, 1))
    with pytest.raises(
        EchoxError, match=rf"^{file}: is not the file .* the run in {tmp_path} \(SHA-256 [0-9a-f]{{64}}"
    ):
        check_references(tmp_path)


def test_references_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / REFERENCES).write_text("{")
    with pytest.raises(EchoxError, match=r"frozen\.json: cannot be read"):
        check_references(tmp_path)


def made() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    model[1].weight.requires_grad_(False)
    return model


def test_frozen_weights_that_no_file_has_are_kept(tmp_path: Path) -> None:
    model, other = made(), made()
    keep_own(tmp_path, model, ("0.",))
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    recall_own(tmp_path, other)
    assert [name for name, weight in other.named_parameters() if weight.any()] == ["1.weight"]
    assert other.get_parameter("1.weight").equal(model.get_parameter("1.weight"))
    (tmp_path / "frozen.safetensors").unlink()
    with pytest.raises(EchoxError, match="is gone, and with it frozen weights"):
        recall_own(tmp_path, other)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_state_is_without_frozen_weights_and_leaves_them_as_they_are(wrapped: bool) -> None:
    model, whole = made(), made().state_dict()
    leave_out_frozen(model)
    if wrapped:
        model[0] = checkpoint_wrapper(model[0])
        model[1] = checkpoint_wrapper(model[1])
    state = model.state_dict()
    assert sorted(state) == ["1.bias", "2.bias", "2.weight"]
    frozen = model.get_parameter("0.weight").clone()
    model.load_state_dict({name: tensor + 1 for name, tensor in state.items()})
    assert model.get_parameter("2.bias").equal(whole["2.bias"] + 1)
    assert model.get_parameter("0.weight").equal(frozen)
    model.load_state_dict({name: tensor + 5 for name, tensor in whole.items()})  # as version 0.1 saved it
    assert model.get_parameter("2.bias").equal(whole["2.bias"] + 5)
    assert model.get_parameter("0.weight").equal(frozen)
    del state["2.bias"]
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"2\.bias\""):
        model.load_state_dict(state)
