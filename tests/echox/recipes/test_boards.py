"""Boards get the metrics under the same names, also when a run goes on."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from echox.recipes.boards import WANDB_ID, open_boards
from echox.recipes.config import LogConfig

pytestmark = pytest.mark.slow


def test_a_run_that_goes_on_is_the_same_one_on_all_boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    names = []
    for step in (0, 2):
        boards = open_boards(tmp_path, LogConfig(recorders=("wandb",)), step)
        for board in boards:
            board.record({"train/loss": 3.0 - step, "valid/words": 0.5}, step + 1)
            board.close()
        names.append((tmp_path / WANDB_ID).read_text())
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(point.step, point.value) for point in shown.Scalars("train/loss")] == [(1, 3.0), (3, 1.0)]
    parts = sorted((tmp_path / "wandb").glob(f"offline-run-*-{names[0]}/run-{names[0]}.wandb"))
    assert parts, "nothing leaves this disk"
    assert names[0] == names[1]
    assert all(b"train/loss" in part.read_bytes() and b"valid/words" in part.read_bytes() for part in parts)


def test_only_tensorboard_is_always_there(tmp_path: Path) -> None:
    for board in open_boards(tmp_path, LogConfig(), 0):
        board.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tensorboard"]
