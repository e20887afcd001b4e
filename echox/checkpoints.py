"""Weights in Hugging Face folders: `config.json` and safetensors, in one file or in several with an index."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from echox.errors import EchoxError
from echox.weights.filling import fill

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SHOWN = 5
"""Most faults that a message lists."""


def read_config(folder: Path) -> dict[str, Any]:
    """Return the folder's `config.json`.

    Raises:
        EchoxError: the file is missing or holds no JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise EchoxError(f"{folder}: no config.json; give a local folder of a Hugging Face model")
    return read_object(path)


def read_tensors(folder: Path, prefix: str = "") -> dict[str, Tensor]:
    """Return all tensors whose name begins with `prefix`, without it in their names, on the CPU.

    Raises:
        EchoxError: the folder holds no safetensors, or damaged ones.
    """
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a mapping
                    if name.startswith(prefix):
                        tensors[name.removeprefix(prefix)] = file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise EchoxError(f"{path}: cannot be read as safetensors ({error}); fetch it again") from None
    return tensors


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: Path, *, besides: str | None = None) -> None:
    """Load tensors into `module`, which keeps its dtype, and its device unless that is meta.

    Args:
        module: the module to fill.
        tensors: weights by name.
        source: file or folder of the weights, for messages.
        besides: part of the names of weights that are not among the tensors and stay as they are.

    Raises:
        EchoxError: names the tensors that are missing, left over, of another shape, or not finite.
    """
    own = {name: tensor for name, tensor in module.state_dict().items() if besides is None or besides not in name}
    if faults := misfits(own, tensors, exact=True):
        problem = f"does not fit the architecture: {listed(faults)}"
        raise EchoxError(f"{source}: {problem}; choose the architecture of this checkpoint")
    check_finite(tensors, source)
    fill(module, tensors)


def misfits(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, exact: bool) -> list[str]:
    """Return a fault for each weight that is missing among the tensors or has another shape there.

    Args:
        own: the weights to fill.
        tensors: values by name.
        exact: whether tensors without a weight are faults too.
    """
    faults = [f"{name} is missing" for name in own if name not in tensors]
    faults += [f"{name} is unknown" for name in tensors if exact and name not in own]
    return faults + [
        f"{name} is {tuple(tensor.shape)}, not {tuple(own[name].shape)}"
        for name, tensor in tensors.items()
        if name in own and own[name].shape != tensor.shape
    ]


def check_finite(tensors: Mapping[str, Tensor], source: Path) -> None:
    """Refuse damaged weights.

    Raises:
        EchoxError: names the tensors that hold NaN or infinite values.
    """
    if wrong := [name for name, tensor in tensors.items() if not _is_finite(tensor)]:
        raise EchoxError(f"{source}: NaN or infinite values in {listed(wrong)}; fetch or train these weights again")


def _is_finite(tensor: Tensor) -> bool:
    """Return whether all values are finite; minimum and maximum tell, and cost no memory."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return bool(torch.stack(tensor.aminmax()).isfinite().all())


def listed(faults: Sequence[str]) -> str:
    """Return the first faults as one text, and how many more there are."""
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return "; ".join(faults[:SHOWN]) + more


def check_fields(folder: Path, expected: Mapping[str, Any]) -> None:
    """Compare `config.json` with the architecture.

    Raises:
        EchoxError: names every field that differs.
    """
    found = read_config(folder)
    wrong = [
        f"{name} is {found[name]!r}, not {value!r}"
        for name, value in expected.items()
        if name in found and found[name] != value
    ]
    if wrong:
        raise EchoxError(f"{folder / 'config.json'}: {'; '.join(wrong)}; choose the architecture of this checkpoint")


def weight_files(folder: Path) -> list[Path]:
    """Return the files with the weights of a Hugging Face folder.

    Raises:
        EchoxError: the folder holds no safetensors, or a damaged index.
    """
    index = folder / INDEX
    if index.is_file():
        weights = read_object(index).get("weight_map")
        if not isinstance(weights, dict):
            raise EchoxError(f"{index}: has no weight_map; fetch it again")
        return [folder / name for name in sorted({str(name) for name in weights.values()})]
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    raise EchoxError(f"{folder}: neither {SINGLE} nor {INDEX}; give a folder with safetensors")


def read_object(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file.

    Raises:
        EchoxError: the file holds no JSON object.
    """
    try:
        value = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise EchoxError(f"{path}: not JSON ({error}); fetch it again") from None
    if not isinstance(value, dict):
        raise EchoxError(f"{path}: not a JSON object; fetch it again")
    return value
