"""The log of a Ray job as JSON lines, which carry level, text, progress and results to the submitting process."""

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.engine.progress import Progress
from unitlang.printing import shown_lines

REQUEST = "ECHOX_JOB"
"""Environment variable with the request of a job, as JSON."""
MARK = "echox:"
"""Prefix of this program's lines; all others are Ray's or a library's."""


@dataclass(frozen=True)
class LogLine:
    """One line of a job's log.

    Attributes:
        text: text of the line.
        level: level in `logging`.
        progress: progress of a step, if the line reports it.
        outcome: JSON values of a result (`done`) or an error (`error`), if the line reports one.
    """

    text: str
    level: int = logging.INFO
    progress: Progress | None = None
    outcome: dict[str, Any] | None = None


class JsonLines(logging.Formatter):
    """Formats log records as JSON lines that `parse` understands."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line."""
        progress = getattr(record, "progress", None)
        values = {
            "text": shown_lines(super().format(record)),
            "level": record.levelno,
            "progress": asdict(progress) if progress else None,
            "outcome": getattr(record, "outcome", None),
        }
        return MARK + json.dumps({name: value for name, value in values.items() if value is not None})


def parse(line: str) -> LogLine:
    """Parse a line of the log; lines without `MARK` are taken as plain text."""
    if not line.startswith(MARK):
        return LogLine(line)
    values = json.loads(line.removeprefix(MARK))
    progress = values.pop("progress", None)
    return LogLine(**values, progress=Progress(**progress) if progress else None)
