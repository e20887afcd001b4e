"""Progress of long work: hours of audio done, audio hours a minute, time left."""

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

log = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 30.0


class AudioRateColumn(ProgressColumn):
    """Hours of audio done of all, and audio hours a minute."""

    def render(self, task: Task) -> Text:
        """The text of one bar."""
        return Text(describe(task.completed, task.total or 0.0, task.elapsed or 0.0))


def describe(done_seconds: float, total_seconds: float, elapsed_seconds: float) -> str:
    """For instance `1.25/6.00 h, 0.42 h/min`."""
    rate = done_seconds / 60 / elapsed_seconds if elapsed_seconds else 0.0
    return f"{done_seconds / 3600:.2f}/{total_seconds / 3600:.2f} h, {rate:.2f} h/min"


class Bar:
    """One step's progress: a bar on a terminal, a log line now and then elsewhere."""

    def __init__(self, name: str, total_seconds: float, progress: Progress | None) -> None:
        self.name = name
        self.total = total_seconds
        self.done = 0.0
        self.started = self.logged = time.monotonic()
        self._progress = progress
        self._task = progress.add_task(name, total=total_seconds) if progress else None

    def advance(self, seconds: float) -> None:
        """Count `seconds` of audio as done."""
        self.done += seconds
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, seconds)
        elif time.monotonic() - self.logged >= LOG_EVERY_SECONDS:
            self.logged = time.monotonic()
            elapsed = self.logged - self.started
            left = (self.total - self.done) * elapsed / self.done if self.done else float("inf")
            log.info("%s: %s, %.0f s left", self.name, describe(self.done, self.total, elapsed), left)


@contextmanager
def bar(name: str, total_seconds: float, console: Console) -> Generator[Bar]:
    """Show the progress of `total_seconds` of audio through the step `name`."""
    if not console.is_terminal:
        yield Bar(name, total_seconds, None)
        return
    columns = (TextColumn("{task.description:>18}"), BarColumn(), AudioRateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        yield Bar(name, total_seconds, progress)
