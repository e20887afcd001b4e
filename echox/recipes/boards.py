"""Boards on which people watch metrics: TensorBoard always, others as the settings ask."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from typing_extensions import override

from echox.recipes.config import LogConfig
from storage.local import write_file

WANDB_ID = "wandb_run_id"
"""File with the name by which wandb knows a run again when it is resumed."""


class Board(ABC):
    """A board of one run."""

    @abstractmethod
    def record(self, values: Mapping[str, float], step: int) -> None:
        """Show the metrics of a step."""

    @abstractmethod
    def close(self) -> None:
        """Write out what is left."""


class TensorBoard(Board):
    """TensorBoard, in the folder `tensorboard`."""

    def __init__(self, folder: Path, step: int) -> None:
        """Go on after a step; what was shown of later ones is taken off."""
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    @override
    def record(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    @override
    def close(self) -> None:
        self._writer.close()


class Wandb(Board):
    """Weights & Biases: in the folder `wandb`, unless the variable WANDB_MODE says otherwise."""

    def __init__(self, folder: Path, project: str) -> None:
        """Go on with the run of a folder, or begin it."""
        import wandb

        known = folder / WANDB_ID
        if not known.is_file():
            write_file(known, uuid4().hex.encode(), replace=False)
        mode = cast("Any", os.environ.get("WANDB_MODE", "offline"))
        self._run = wandb.init(
            project=project,
            name=folder.name,
            id=known.read_text(),
            dir=str(folder),
            mode=mode,
            # Offline it cannot ask whether the run exists; its parts meet under their name once they are uploaded.
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(silent=True),
        )

    @override
    def record(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    @override
    def close(self) -> None:
        self._run.finish()


def open_boards(folder: Path, config: LogConfig, step: int) -> list[Board]:
    """The boards of a run that goes on after a step.

    Args:
        folder: folder of the run.
        config: the boards besides TensorBoard.
        step: step of the last checkpoint.
    """
    others: list[Board] = [Wandb(folder, config.project)] if "wandb" in config.recorders else []
    return [TensorBoard(folder, step), *others]
