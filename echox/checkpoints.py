"""Weights in Hugging Face folders: `config.json` and safetensors, in one file or in several with an index."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from echox.errors import EchoxError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's `config.json`.

    Raises:
        EchoxError: when it is not there or no JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise EchoxError(f"{folder}: no config.json; give a local folder of a Hugging Face model")
    return read_object(path)


def read_tensors(folder: Path, prefix: str = "") -> dict[str, Tensor]:
    """All tensors whose name begins with `prefix`, under the rest of their names, on the CPU.

    Raises:
        EchoxError: when the folder holds no safetensors, or damaged ones.
    """
    tensors: dict[str, Tensor] = {}
    for path in _files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a mapping
                    if name.startswith(prefix):
                        tensors[name.removeprefix(prefix)] = file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise EchoxError(f"{path}: cannot be read as safetensors ({error}); fetch it again") from None
    return tensors


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Fill `module`, whose dtype and device stay.

    Raises:
        EchoxError: naming what is missing, left over or of another shape.
    """
    own = module.state_dict()
    faults = [f"{name} is missing" for name in own if name not in tensors]
    faults += [f"{name} is unknown" for name in tensors if name not in own]
    faults += [
        f"{name} is {tuple(tensor.shape)}, not {tuple(own[name].shape)}"
        for name, tensor in tensors.items()
        if name in own and own[name].shape != tensor.shape
    ]
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise EchoxError(f"{source}: does not fit the architecture: {shown}; choose the preset of this checkpoint")
    module.load_state_dict(dict(tensors))


def check_fields(folder: Path, expected: Mapping[str, Any]) -> None:
    """Hold `config.json` against what the architecture says.

    Raises:
        EchoxError: naming every field that differs.
    """
    found = read_config(folder)
    wrong = [
        f"{name} is {found[name]!r}, not {value!r}"
        for name, value in expected.items()
        if name in found and found[name] != value
    ]
    if wrong:
        raise EchoxError(f"{folder / 'config.json'}: {'; '.join(wrong)}; choose the preset of this checkpoint")


def _files(folder: Path) -> list[Path]:
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
    """A JSON file's object.

    Raises:
        EchoxError: when it is none.
    """
    try:
        value = json.loads(path.read_text())
    except ValueError as error:
        raise EchoxError(f"{path}: not JSON ({error}); fetch it again") from None
    if not isinstance(value, dict):
        raise EchoxError(f"{path}: not a JSON object; fetch it again")
    return value
