"""Progress of long work: hours of audio done, audio hours per minute, time left."""

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

log = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 30.0
TELL_EVERY_SECONDS = 5.0
"""Seconds between two log records for other displays of progress; their level is below what people read."""


@dataclass(frozen=True)
class Progress:
    """Progress of a step; log records carry it as `progress`.

    Attributes:
        step: name of the step.
        done: seconds of audio.
        total: seconds of audio.
        elapsed: seconds since the step began.
    """

    step: str
    done: float
    total: float
    elapsed: float

    @property
    def left(self) -> float:
        """Seconds to the end, at the present speed."""
        return (self.total - self.done) * self.elapsed / self.done if self.done else float("inf")

    def __str__(self) -> str:
        return f"{self.step}: {describe(self.done, self.total, self.elapsed)}, {self.left:.0f} s left"


class AudioRateColumn(ProgressColumn):
    """Column with done and total hours of audio, and audio hours per minute."""

    def render(self, task: Task) -> Text:
        """Return the text of one bar."""
        return Text(describe(task.completed, task.total or 0.0, task.elapsed or 0.0))


def describe(done_seconds: float, total_seconds: float, elapsed_seconds: float) -> str:
    """Format progress, for instance `1.25/6.00 h, 0.42 h/min`."""
    rate = done_seconds / 60 / elapsed_seconds if elapsed_seconds else 0.0
    return f"{done_seconds / 3600:.2f}/{total_seconds / 3600:.2f} h, {rate:.2f} h/min"


class Bar:
    """Progress of one step: a bar on a terminal, else a log line at intervals."""

    def __init__(self, name: str, total_seconds: float, shown: RichProgress | None) -> None:
        self.name = name
        self.total = total_seconds
        self.done = 0.0
        self.started = self.logged = self.told = time.monotonic()
        self._shown = shown
        self._task = shown.add_task(name, total=total_seconds) if shown else None

    def advance(self, seconds: float) -> None:
        """Count `seconds` of audio as done."""
        self.done += seconds
        if self._shown is not None and self._task is not None:
            self._shown.advance(self._task, seconds)
        now = time.monotonic()
        if self._shown is None and now - self.logged >= LOG_EVERY_SECONDS:
            self.logged = now
            self._tell(logging.INFO)
        elif now - self.told >= TELL_EVERY_SECONDS or self.done >= self.total:
            self._tell(logging.DEBUG)

    def _tell(self, level: int) -> None:
        self.told = time.monotonic()
        progress = Progress(self.name, self.done, self.total, self.told - self.started)
        log.log(level, "%s", progress, extra={"progress": progress})


@contextmanager
def bar(name: str, total_seconds: float, console: Console) -> Generator[Bar]:
    """Show the progress of `total_seconds` of audio through the step `name`."""
    if not console.is_terminal:
        yield Bar(name, total_seconds, None)
        return
    columns = (TextColumn("{task.description:>18}"), BarColumn(), AudioRateColumn(), TimeRemainingColumn())
    with RichProgress(*columns, console=console) as progress:
        yield Bar(name, total_seconds, progress)
