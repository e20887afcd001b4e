"""Lines for people about a training in this process."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from rich.filesize import decimal

from echox.outlook import Outlook

UNSAID = {"step", "examples", "total_num_examples", "skipped", "lr", "grad_norm", "tokens_per_second", "memory_bytes"}
"""Metrics of a training step that are not losses."""


class TrainingLines:
    """Tells how far a training is, how it goes and how long it will take."""

    def __init__(
        self, outlook: Outlook, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Tell of a training.

        Args:
            outlook: its extent.
            tell: receives each line.
            clock: returns the seconds since some moment.
        """
        self._outlook = outlook
        self._tell = tell
        self._clock = clock
        self._began = clock()
        self._first: tuple[float, float] | None = None

    def begin(self) -> None:
        """Tell what is going to be trained."""
        known = self._outlook
        examples = f"{known.examples:,} examples an epoch, {known.held_out:,} held out"
        self._tell(f"stage {known.stage} on {known.corpus}: {examples}; {known.steps:,} steps")

    def show(self, metrics: Mapping[str, float]) -> None:
        """Tell the metrics of some training steps, or of a validation."""
        step = f"step {metrics['step']:,.0f} of {self._outlook.steps:,}"
        if "loss" not in metrics:
            self._tell(", ".join([step, *_values(metrics)]))
            return
        epoch = f"epoch {metrics['total_num_examples'] / self._outlook.examples:.2f}"
        self._tell(", ".join([step, epoch, *_values(metrics), *_speed(metrics), *self._times(metrics["step"])]))

    def _times(self, step: float) -> list[str]:
        """Time since the beginning, and the time left at the speed since the first steps that were told."""
        now = self._clock()
        passed = [f"{_told(now - self._began)} passed"]
        if self._first is None:
            self._first = step, now
            return passed
        first, then = self._first
        return [*passed, f"{_told((now - then) / (step - first) * (self._outlook.steps - step))} left"]


def _values(metrics: Mapping[str, float]) -> list[str]:
    """The losses and other measurements."""
    return [f"{name} {value:.5g}" for name, value in metrics.items() if name not in UNSAID and "_time" not in name]


def _speed(metrics: Mapping[str, float]) -> list[str]:
    """Tokens a second, and on GPUs the memory at its fullest."""
    told = [f"{metrics['tokens_per_second']:,.0f} tokens/s"]
    if memory := metrics.get("memory_bytes"):
        told.append(decimal(int(memory)))
    if skipped := metrics.get("skipped"):
        told.append(f"{skipped:,.0f} too long")
    return told


def _told(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
