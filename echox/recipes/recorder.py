"""Recording of metrics in metrics.jsonl, on boards and for the caller; each step once, however often resumed."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from fairseq2.metrics.recorders import MetricRecorder
from torch import Tensor
from typing_extensions import override

from echox.recipes.boards import open_boards
from echox.recipes.config import LogConfig
from echox.recipes.folder import METRICS, last_step, unfinished_steps
from echox.recipes.history import read_metrics
from storage.local import write_file

log = logging.getLogger(__name__)

Report = Callable[[Mapping[str, float]], None]
NAMES = {
    "elements_per_second": "tokens_per_second",
    "num_examples": "examples",
    "peak_active_mem_bytes": "memory_bytes",
}
"""Our names of fairseq2's metrics."""
LEFT_OUT = re.compile(
    r"num_elements|elements_per_batch|batch_size|data_epoch|lapse_time|wall_time|padding.*|.*_mem_ratio|.*reserved.*"
)
"""Metrics of fairseq2 that are not recorded."""


class RunRecorder(MetricRecorder):
    """Records the metrics that the trainer publishes."""

    def __init__(self, folder: Path, config: LogConfig, report: Report) -> None:
        """Record a run in `folder`, which resumes at its last checkpoint if it has one."""
        step = last_step(folder)
        _tell_unfinished(folder, step)
        self._file = folder / METRICS
        self._report = report
        _keep_until(self._file, step)
        self._boards = open_boards(folder, config, step)

    @override
    def record_metric_values(self, category: str, values: Mapping[str, object], step_nr: int | None = None) -> None:
        prefix = "" if category == "train" else f"{category}/"
        kept = {
            prefix + NAMES.get(name, name): _number(value)
            for name, value in values.items()
            if not LEFT_OUT.fullmatch(name)
        }
        line = {"step": float(step_nr or 0), **kept}
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        for board in self._boards:
            board.record({name if prefix else f"train/{name}": value for name, value in kept.items()}, step_nr or 0)
        self._report(line)

    @override
    def close(self) -> None:
        for board in self._boards:
            board.close()


def _tell_unfinished(folder: Path, step: int) -> None:
    """Log a warning where a later checkpoint was begun than the last one: its saving failed or was interrupted."""
    begun = unfinished_steps(folder)
    if step and begun and max(begun) > step:
        problem = f"the checkpoint of step {max(begun)} was not saved to its end"
        log.warning("%s: %s: goes on from the one before, of step %d", folder, problem, step)


def _keep_until(file: Path, step: int) -> None:
    lines = read_metrics(file.parent)
    if lines and not step:
        last = f"{lines[-1]['step']:.0f}"
        log.warning(
            "%s: was trained to step %s, but no checkpoint was saved: begins again at step 0", file.parent, last
        )
    kept = [line for line in lines if line["step"] <= step]
    write_file(file, "".join(json.dumps(line) + "\n" for line in kept).encode(), replace=True)


def _number(value: object) -> float:
    if isinstance(value, list):  # learning rates of groups: the last is that of the weights without one of their own
        return _number(cast("list[object]", value)[-1])
    return float(cast("Any", value).item() if isinstance(value, Tensor) else cast("Any", value))
