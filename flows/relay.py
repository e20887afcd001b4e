"""Forward the log of the steps to their Prefect run, and show their progress as an artifact."""

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

from pipelines.engine.progress import Progress
from pipelines.errors import USER_ERRORS
from unitlang.printing import shown, shown_lines

PACKAGES = ("echox", "pipelines", "storage", "unitlang")
UPDATE_SECONDS = 5.0
"""Least time between two updates of a progress artifact."""


class ShownRecords(logging.Filter):
    """Makes Prefect's records of runs fit for people.

    Secrets are hidden, what would act in a terminal is escaped, and the traceback of a user's mistake is left out: its
    message is all that helps.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        record.msg, record.args = shown_lines(record.getMessage()), ()
        if record.exc_info and isinstance(record.exc_info[1], USER_ERRORS):
            record.exc_info = None
        elif record.exc_info:
            record.exc_text = shown_lines(logging.Formatter().formatException(record.exc_info))
        return True


class Relay(logging.Handler):
    """Forwards log records to the current run."""

    def __init__(self) -> None:
        super().__init__()
        self._run = get_run_logger()
        self._bars: dict[str, ProgressArtifact] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one record, and its progress if it has any."""
        self._run.log(record.levelno, "%s", shown(record.getMessage()))
        progress = getattr(record, "progress", None)
        if isinstance(progress, Progress):
            self._bars.setdefault(progress.step, ProgressArtifact()).show(progress)


class ProgressArtifact:
    """The progress of one step in the UI, in hours of audio."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None
        self._shown = -UPDATE_SECONDS

    def show(self, progress: Progress) -> None:
        """Show the progress. If the server does not answer, log a warning; the next call tries again."""
        whole = progress.done >= progress.total
        if not whole and time.monotonic() - self._shown < UPDATE_SECONDS:
            return
        self._shown = time.monotonic()
        percent = 100 * min(1.0, progress.done / progress.total) if progress.total else 100.0
        try:
            self._update(percent, progress)
        except (httpx.HTTPError, PrefectException) as error:
            logging.getLogger("flows").warning("progress not shown, the Prefect server does not answer: %s", error)

    def _update(self, percent: float, progress: Progress) -> None:
        if self._artifact is None:
            key = progress.step.replace("_", "-")
            self._artifact = cast(UUID, create_progress_artifact(percent, key=key, description=str(progress)))
        else:
            update_progress_artifact(self._artifact, percent, description=str(progress))


@contextmanager
def errors_shown() -> Generator[None]:
    """Make the messages of errors fit for people, because Prefect shows and keeps them as the state of the run."""
    try:
        yield
    except Exception as error:
        error.args = tuple(shown_lines(part) if isinstance(part, str) else part for part in error.args)
        raise


@contextmanager
def relayed() -> Generator[None]:
    """Within a task or flow, forward the log of the packages to its log."""
    relay = Relay()
    loggers = [logging.getLogger(name) for name in PACKAGES]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(relay)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False  # the run's own log already shows them
    try:
        with errors_shown():
            yield
    finally:
        for logger, level, propagate in before:
            logger.removeHandler(relay)
            logger.setLevel(level)
            logger.propagate = propagate


for _runs in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_runs).addFilter(ShownRecords())
