"""Export of fairseq2's checkpoints as safetensors."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from echox.recipes.folder import CHECKPOINTS, MODEL, TRAINABLE, WEIGHTS
from echox.recipes.history import best_step
from storage.local import write_file


def export(folder: Path, model: nn.Module) -> int:
    """Write the best checkpoint's weights, all of them and the trained ones, and return its step.

    Args:
        folder: folder of the run.
        model: a model of the same architecture, frozen as it was trained; its weights are not used.
    """
    step = best_step(folder)
    weights = checkpoint_weights(folder, step, model)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    _save(folder / TRAINABLE, {name: weights[name] for name in trained})
    _save(folder / MODEL / WEIGHTS, weights)
    return step


def checkpoint_weights(folder: Path, step: int, model: nn.Module) -> dict[str, Tensor]:
    """Return the whole weights of a checkpoint, joined from the workers' parts where FSDP has split them.

    Args:
        folder: folder of the run.
        step: step of the checkpoint.
        model: a model of the same architecture, for the shapes.
    """
    parts = [
        torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        for path in sorted((folder / CHECKPOINTS / f"step_{step}/model/pp_00/tp_00").glob("sdp_*.pt"))
    ]
    return {name: _whole([part[name] for part in parts], tensor.shape) for name, tensor in model.state_dict().items()}


def _whole(parts: Sequence[Tensor], shape: torch.Size) -> Tensor:
    """Return a tensor from parts that are split along the first dimension, or are whole."""
    return parts[0] if parts[0].shape == shape else torch.cat(list(parts))


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a whole file or none; the same tensors give the same bytes."""
    ordered = {name: tensors[name].contiguous().clone() for name in sorted(tensors)}
    write_file(path, save(ordered), replace=True)
