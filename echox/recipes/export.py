"""Export of a run's best checkpoint as safetensors."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from echox.recipes.folder import MODEL, TRAINABLE, WEIGHTS
from echox.recipes.history import best_step
from echox.recipes.loading import freeze, saved_weights
from echox.recipes.stage import Stage
from echox.weights.filling import names_of
from echox.weights.frozen import recall_own
from echox.weights.writing import Promised, write_tensors


def export(stage: Stage[Any, Any, Any], folder: Path) -> int:
    """Write the best checkpoint's weights, all of them and the trained ones, and return its step.

    No second model is made: frozen weights are mapped from their files, and each tensor is in memory only while it is
    written.

    Raises:
        EchoxError: a file with frozen weights does not fit any more, or the disk refuses.
    """
    step, model = best_step(folder), unfilled(stage)
    saved = saved_weights(folder, step, model)
    if model.state_dict().keys() - saved.keys():  # none where an earlier program saved all of them
        stage.load(model)
        recall_own(folder, model)
    trained = names_of(model, lambda weight: weight.requires_grad)
    write_tensors(folder / TRAINABLE, {name: saved[name] for name in trained})
    frozen = {name: Promised.of(tensor) for name, tensor in model.state_dict().items() if name not in saved}
    write_tensors(folder / MODEL / WEIGHTS, {**frozen, **saved})
    return step


def unfilled(stage: Stage[Any, Any, Any]) -> nn.Module:
    """Return the stage's model, frozen, on the meta device."""
    with torch.device("meta"):
        model: nn.Module = stage.build()
    freeze(stage, model)
    return model
