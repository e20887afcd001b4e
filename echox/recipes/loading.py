"""The weights of a run: frozen ones from files, trained ones from its checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from echox.checkpoints import check_finite, listed, misfits, read_tensors
from echox.errors import EchoxError
from echox.recipes.folder import CHECKPOINTS, last_step
from echox.recipes.stage import Stage
from echox.trainer.parallel import shrink_frozen
from echox.weights.filling import fill, names_of
from echox.weights.frozen import check_references, frozen_names, keep_own, recall_own, refer
from echox.weights.writing import Promised

AnyStage = Stage[Any, Any, Any]


def freeze(stage: AnyStage, model: nn.Module) -> None:
    """Freeze a model as its stage does; in bf16, frozen weights have that dtype before they are loaded."""
    stage.freeze(model)
    if stage.setting.config.parallel.precision == "bf16":
        shrink_frozen(model)


def load(stage: AnyStage, model: nn.Module, folder: Path) -> None:
    """Load all weights with which a run begins; at a resume, checkpoints replace the trained ones.

    Args:
        stage: the stage.
        model: its model, frozen.
        folder: folder of the run.

    Raises:
        EchoxError: a file is gone or changed, or does not fit the architecture.
    """
    known = check_references(folder)
    stage.load(model)
    if known:
        recall_own(folder, model)
        return
    if (init := stage.setting.init) is not None:
        begin_with(model, init)
    if step := last_step(folder):  # of an earlier program, whose checkpoints held all weights
        saved = saved_weights(folder, step, model)
        fill(model, {name: saved[name].value() for name in frozen_names(model) if name in saved})
    files = stage.frozen_files()
    keep_own(folder, model, tuple(files))
    refer(folder, dict.fromkeys(path for paths in files.values() for path in paths))


def begin_with(model: nn.Module, folder: Path) -> None:
    """Give the trained weights of a model the values of a folder; frozen ones stay as they are.

    Raises:
        EchoxError: a weight is missing there, has another shape or is not finite; or the folder cannot be read.
    """
    tensors, weights = read_tensors(folder), model.state_dict()
    own = {name: weights[name] for name in names_of(model, lambda weight: weight.requires_grad)}
    if faults := misfits(own, tensors, exact=False):
        problem = f"does not fit what is trained: {listed(faults)}"
        raise EchoxError(f"--init {folder}: {problem}; choose a run of the same stage, architecture and unit language")
    wanted = {name: tensors[name] for name in own}
    check_finite(wanted, folder)
    fill(model, wanted)


def saved_weights(folder: Path, step: int, model: nn.Module) -> Mapping[str, Promised]:
    """Return the weights of a checkpoint, to be joined from the workers' parts where FSDP has split them.

    Args:
        folder: folder of the run.
        step: step of the checkpoint.
        model: a model of the same architecture, for the shapes.
    """
    parts = [
        torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        for path in sorted((folder / CHECKPOINTS / f"step_{step}/model/pp_00/tp_00").glob("sdp_*.pt"))
    ]
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    return {name: _joined([part[name] for part in parts], shapes[name]) for name in parts[0]}


def _joined(parts: Sequence[Tensor], shape: torch.Size) -> Promised:
    """Return a tensor from parts that are split along the first dimension, or are whole."""
    whole = parts[0].shape == shape
    return Promised(shape, parts[0].dtype, lambda: parts[0] if whole else torch.cat(list(parts)))
