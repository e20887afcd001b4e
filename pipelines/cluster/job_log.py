"""The log of a Ray job as JSON lines: whoever started the job gets level, text, progress and results as they were."""

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.engine.progress import Progress

REQUEST = "ECHOX_JOB"
"""Environment variable that holds the request of a job, as JSON."""
MARK = "echox:"
"""Begins each line that is ours; the others are Ray's or a library's."""


@dataclass(frozen=True)
class LogLine:
    """One line of a job's log.

    Attributes:
        text: of the line.
        level: of `logging`.
        progress: of a step, if the line tells of it.
        outcome: JSON values of what the job made (`done`) or why it failed (`error`), if the line tells of it.
    """

    text: str
    level: int = logging.INFO
    progress: Progress | None = None
    outcome: dict[str, Any] | None = None


class JsonLines(logging.Formatter):
    """Makes log records JSON lines that `parse` understands."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        progress = getattr(record, "progress", None)
        values = {
            "text": super().format(record),
            "level": record.levelno,
            "progress": asdict(progress) if progress else None,
            "outcome": getattr(record, "outcome", None),
        }
        return MARK + json.dumps({name: value for name, value in values.items() if value is not None})


def parse(line: str) -> LogLine:
    """A line of the log; what is not ours is taken as it is."""
    if not line.startswith(MARK):
        return LogLine(line)
    values = json.loads(line.removeprefix(MARK))
    progress = values.pop("progress", None)
    return LogLine(**values, progress=Progress(**progress) if progress else None)
