"""Metrics and checkpoints in a run's folder."""

import json
from pathlib import Path

from echox.errors import EchoxError
from echox.recipes.folder import CHECKPOINTS, METRICS, last_step


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return all recorded metrics in order; an incomplete last line is skipped."""
    path = folder / METRICS
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def validation_at(folder: Path, step: int) -> dict[str, float]:
    """Return the metrics of the validation at a step; empty if there was none."""
    lines = (line for line in read_metrics(folder) if any(name.startswith("valid/") for name in line))
    return next((line for line in lines if line["step"] == step), {})


def best_step(folder: Path) -> int:
    """Return the step of the checkpoint with the best score, or of the last one if none was validated."""
    scores = (folder / CHECKPOINTS / "scores").glob("step_*.txt")
    known = [(float(path.read_text()), int(path.stem.removeprefix("step_"))) for path in scores]
    kept = [(score, step) for score, step in known if (folder / CHECKPOINTS / f"step_{step}").is_dir()]
    return max(kept)[1] if kept else last_step(folder)


def check_workers(folder: Path, workers: int) -> None:
    """Check that a run is resumed with as many workers as it began with: each has saved its own state.

    Raises:
        EchoxError: the numbers differ.
    """
    step = last_step(folder)
    ranks = list((folder / CHECKPOINTS / f"step_{step}" / "trainer").glob("rank_*.pt"))
    if ranks and len(ranks) != workers:
        problem = f"was trained by {len(ranks)} workers up to step {step} and cannot be resumed by {workers}"
        raise EchoxError(f"{folder}: {problem}; use as many, or give another folder for --out")
