"""Progress of long work: hours of audio or bytes done, their rate, time left."""

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text
from typing_extensions import override

log = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 30.0
TELL_EVERY_SECONDS = 5.0
"""Seconds between two log records for other displays of progress; their level is below what people read."""


@dataclass(frozen=True)
class Progress:
    """Progress of a step in seconds of audio; log records carry it as `progress`.

    Attributes:
        step: name of the step.
        done: amount that is done.
        total: amount to do.
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

    @property
    def amounts(self) -> str:
        """Done work, all work, and the rate."""
        return describe(self.done, self.total, self.elapsed)

    def __str__(self) -> str:
        return f"{self.step}: {self.amounts}, {self.left:.0f} s left"


@dataclass(frozen=True)
class BytesProgress(Progress):
    """Progress of a transfer in bytes."""

    @property
    @override
    def amounts(self) -> str:
        rate = self.done / self.elapsed if self.elapsed else 0.0
        return f"{decimal(int(self.done))} of {decimal(int(self.total))}, {decimal(int(rate))}/s"


class AmountsColumn(ProgressColumn):
    """Column with the amounts of a kind of progress."""

    def __init__(self, kind: type[Progress]) -> None:
        super().__init__()
        self._kind = kind

    def render(self, task: Task) -> Text:
        """Return the text of one bar."""
        return Text(self._kind(task.description, task.completed, task.total or 0.0, task.elapsed or 0.0).amounts)


def describe(done_seconds: float, total_seconds: float, elapsed_seconds: float) -> str:
    """Format progress, for instance `1.25/6.00 h, 0.42 h/min`."""
    rate = done_seconds / 60 / elapsed_seconds if elapsed_seconds else 0.0
    return f"{done_seconds / 3600:.2f}/{total_seconds / 3600:.2f} h, {rate:.2f} h/min"


class Bar:
    """Progress of one step: a bar on a terminal, else a log line at intervals."""

    def __init__(self, name: str, total: float, shown: RichProgress | None, kind: type[Progress] = Progress) -> None:
        self.name = name
        self.total = total
        self.done = 0.0
        self.started = self.logged = self.told = time.monotonic()
        self._shown = shown
        self._task = shown.add_task(name, total=total) if shown else None
        self._kind = kind

    def advance(self, amount: float) -> None:
        """Count seconds of audio, or bytes, as done."""
        self.done += amount
        if self._shown is not None and self._task is not None:
            self._shown.advance(self._task, amount)
        now = time.monotonic()
        if self._shown is None and now - self.logged >= LOG_EVERY_SECONDS:
            self.logged = now
            self._tell(logging.INFO)
        elif now - self.told >= TELL_EVERY_SECONDS or self.done >= self.total:
            self._tell(logging.DEBUG)

    def _tell(self, level: int) -> None:
        self.told = time.monotonic()
        progress = self._kind(self.name, self.done, self.total, self.told - self.started)
        log.log(level, "%s", progress, extra={"progress": progress})


@contextmanager
def bar(name: str, total: float, console: Console, kind: type[Progress] = Progress) -> Generator[Bar]:
    """Show the progress of the step `name`.

    Args:
        name: name of the step.
        total: amount to do: seconds of audio, or bytes.
        console: shows a bar if it is a terminal; otherwise lines are logged.
        kind: `BytesProgress` if the amounts are bytes.
    """
    if not console.is_terminal:
        yield Bar(name, total, None, kind)
        return
    columns = (TextColumn("{task.description:>18}"), BarColumn(), AmountsColumn(kind), TimeRemainingColumn())
    with RichProgress(*columns, console=console) as progress:
        yield Bar(name, total, progress, kind)
