import json
from pathlib import Path

import pytest

from echox.errors import EchoxError
from echox.recipes.folder import last_step
from echox.recipes.history import best_step, check_workers, read_metrics, validation_at


def checkpoint(folder: Path, step: int, *, workers: int = 1, score: float | None = None) -> None:
    trainer = folder / f"checkpoints/step_{step}/trainer"
    trainer.mkdir(parents=True)
    for rank in range(workers):
        (trainer / f"rank_{rank:02d}.pt").touch()
    if score is not None:
        scores = folder / "checkpoints/scores"
        scores.mkdir(exist_ok=True)
        (scores / f"step_{step}.txt").write_text(f"{score}\n")


def test_the_best_checkpoint_is_the_highest_score_of_those_kept(tmp_path: Path) -> None:
    assert last_step(tmp_path) == 0
    for step, score in ((10, -3.0), (9, -2.5), (30, -4.0)):
        checkpoint(tmp_path, step, score=score)
    (tmp_path / "checkpoints/scores/step_5.txt").write_text("-0.1\n")
    (tmp_path / "checkpoints/step_40.tmp").mkdir()
    assert (best_step(tmp_path), last_step(tmp_path)) == (9, 30)


def test_without_scores_the_last_is_the_best(tmp_path: Path) -> None:
    checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 20)
    assert best_step(tmp_path) == 20


def test_the_number_of_workers_cannot_change(tmp_path: Path) -> None:
    check_workers(tmp_path, 3)
    checkpoint(tmp_path, 10, workers=2)
    check_workers(tmp_path, 2)
    with pytest.raises(EchoxError, match="trained by 2 workers up to step 10 and cannot be resumed by 1"):
        check_workers(tmp_path, 1)


def test_a_half_written_line_does_not_count(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 2.0}, {"step": 1, "valid/loss": 3.0}, {"step": 2, "loss": 1.0}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 3, "lo')
    assert read_metrics(tmp_path) == lines
    assert validation_at(tmp_path, 1) == lines[1]
    assert validation_at(tmp_path, 2) == validation_at(tmp_path / "none", 1) == {}
