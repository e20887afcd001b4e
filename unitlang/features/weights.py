"""Read the tensors of a checkpoint's file without running code from it."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from unitlang.errors import UnitlangError

if TYPE_CHECKING:
    from torch import Tensor


def read_weights(path: Path, allowed: Sequence[Any] = ()) -> dict[str, Any]:
    """Read a file of weights onto the CPU.

    Args:
        path: a .safetensors file, or a file written by `torch.save`.
        allowed: for `torch.serialization.safe_globals`: classes that the file may hold beside tensors.

    Returns:
        The contents by name, usually tensors.

    Raises:
        UnitlangError: the file has neither format, holds other classes, or holds no dict.
    """
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _torch_load(path, allowed)
    if not isinstance(content, dict):
        raise UnitlangError(f"{path} holds no state dict")
    return content


def check_finite(tensors: Mapping[str, "Tensor"], source: str) -> None:
    """Refuse damaged weights and name the tensor: not every torch kernel carries a NaN through to the features.

    Args:
        tensors: by name.
        source: checkpoint, for the error message.

    Raises:
        UnitlangError: a tensor holds NaN or infinite values.
    """
    import torch

    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UnitlangError(f"{source}: tensor {name} holds NaN or infinite values; copy the checkpoint again")


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise UnitlangError(f"{path} is not a safetensors file: {error}") from error


def _torch_load(path: Path, allowed: Sequence[Any]) -> object:
    import torch

    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise UnitlangError(
            f"{path} holds more than tensors and is not loaded, since that could run code of its author "
            f"({str(error).splitlines()[0]}). Where you trust it, load it with the program that wrote it and "
            'save its weights alone: torch.save({"model": model.state_dict()}, "weights.pt")'
        ) from error
    except Exception as error:  # on bytes that are not a checkpoint the reader may raise nearly anything
        raise UnitlangError(f"{path} is not a torch checkpoint: {error or type(error).__name__}") from error
