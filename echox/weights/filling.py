"""Weights that get their values from files; until then those on the meta device take no memory."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (  # pyright: ignore[reportPrivateImportUsage]
    _CHECKPOINT_PREFIX,  # pyright: ignore[reportPrivateUsage] - it is in the names of weights
)


def unmade(checkpoint: str | None) -> AbstractContextManager[object]:
    """Return the context in which to make a part: on the meta device if a checkpoint has its weights."""
    return nullcontext() if checkpoint is None else torch.device("meta")


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give weights their values; they keep their dtype, and their device unless that is meta.

    A weight on the meta device becomes the tensor itself, without a copy if it has the right dtype. Weights that two
    modules share stay shared.

    Args:
        module: the module.
        tensors: values by name of the weight; others stay as they are.
    """
    places = _places(module)
    made: dict[int, nn.Parameter] = {}
    for name, tensor in tensors.items():
        owner, last = places[name]
        own = getattr(owner, last)
        if not own.is_meta:
            with torch.no_grad():
                own.copy_(tensor)
        else:
            if id(own) not in made:
                made[id(own)] = nn.Parameter(tensor.to(own.dtype), own.requires_grad)
            setattr(owner, last, made[id(own)])
    _make_buffers(module)


def _places(module: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Return the owner of each weight, and its name there."""
    found = {name: module.get_submodule(name.rpartition(".")[0]) for name in module.state_dict()}
    return {name: (owner, name.rpartition(".")[2]) for name, owner in found.items()}


def _make_buffers(module: nn.Module) -> None:
    """Make the buffers that belong to no checkpoint, of modules whose weights are made."""
    for part in module.modules():
        reset: Callable[[], None] | None = getattr(part, "reset_non_persistent_buffers", None)
        meta = [name for name, buffer in part.named_buffers(recurse=False) if buffer.is_meta]
        if reset is not None and meta:
            for name in meta:
                setattr(part, name, torch.empty_like(part.get_buffer(name), device="cpu"))
            reset()


def names_of(module: nn.Module, chosen: Callable[[nn.Parameter], bool]) -> list[str]:
    """Return the names of weights, each under all names that it has."""
    return [name for name, weight in module.named_parameters(remove_duplicate=False) if chosen(weight)]


def plain_name(name: str) -> str:
    """Return the name of a weight without the wrappers that recompute activations, which its state does not name."""
    return name.replace(_CHECKPOINT_PREFIX, "")
