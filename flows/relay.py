"""What the steps log reaches the Prefect run that they belong to, with their progress as an artifact."""

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

PACKAGES = ("echox", "pipelines", "storage", "unitlang")
UPDATE_SECONDS = 5.0


class MistakesWithoutTraceback(logging.Filter):
    """A mistake of the user is told by its message; where in the program it was noticed helps nobody."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Every record passes."""
        if record.exc_info and isinstance(record.exc_info[1], USER_ERRORS):
            record.exc_info = None
        return True


class Relay(logging.Handler):
    """Hands log records to the run that is in course."""

    def __init__(self) -> None:
        super().__init__()
        self._run = get_run_logger()
        self._bars: dict[str, ProgressArtifact] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """One record."""
        self._run.log(record.levelno, record.getMessage())
        progress = getattr(record, "progress", None)
        if isinstance(progress, Progress):
            self._bars.setdefault(progress.step, ProgressArtifact()).show(progress)


class ProgressArtifact:
    """The progress of one step, in hours of audio, as the UI shows it."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None
        self._shown = -UPDATE_SECONDS

    def show(self, progress: Progress) -> None:
        """Show how far the step is; a server that does not answer now is told later."""
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
def relayed() -> Generator[None]:
    """Within a task or flow: its log has what the packages log."""
    relay = Relay()
    loggers = [logging.getLogger(name) for name in PACKAGES]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(relay)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False  # the run's own log shows them already
    try:
        yield
    finally:
        for logger, level, propagate in before:
            logger.removeHandler(relay)
            logger.setLevel(level)
            logger.propagate = propagate


for _runs in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_runs).addFilter(MistakesWithoutTraceback())
