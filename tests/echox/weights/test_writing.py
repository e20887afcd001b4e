from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from echox.errors import EchoxError
from echox.weights.writing import Promised, write_tensors
from tests.echox.memory import MB, peak


def test_the_file_is_read_by_safetensors(tmp_path: Path) -> None:
    tensors = {
        "b": torch.randn(3, 5).T,
        "a": torch.randn(7).bfloat16(),
        "empty": torch.zeros(0, 4),
        "one": torch.tensor(3),
        "half": torch.randn(2, 2).half(),
    }
    path = tmp_path / "deep" / "weights.safetensors"
    write_tensors(path, {name: Promised.of(tensor) for name, tensor in tensors.items()}, {"format": "pt"})
    found = load_file(path)
    assert found.keys() == tensors.keys()
    assert all(found[name].equal(tensor) and found[name].dtype == tensor.dtype for name, tensor in tensors.items())
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    before = path.read_bytes()
    write_tensors(path, {name: Promised.of(tensors[name]) for name in sorted(tensors)}, {"format": "pt"})
    assert path.read_bytes() == before
    assert [place.name for place in path.parent.iterdir()] == ["weights.safetensors"]


def test_one_tensor_is_in_memory_at_a_time(tmp_path: Path) -> None:
    """20 tensors of 4 MB."""
    shape = torch.Size((1000, 1000))
    tensors = {str(number): Promised(shape, torch.float32, lambda: torch.zeros(shape)) for number in range(20)}
    assert 4 * MB <= peak(lambda: write_tensors(tmp_path / "weights.safetensors", tensors)) < 9 * MB


def test_a_disk_that_refuses_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").mkdir()
    with pytest.raises(EchoxError, match=r"cannot write .*weights\.safetensors: Is a directory; make room"):
        write_tensors(tmp_path / "weights.safetensors", {"a": Promised.of(torch.zeros(2))})
    assert [place.name for place in tmp_path.iterdir()] == ["weights.safetensors"]
