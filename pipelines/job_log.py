"""The log of a Ray job as JSON lines: level, text and progress reach whoever started the job as they were."""

import json
import logging
from dataclasses import asdict, dataclass

from pipelines.progress import Progress

MARK = "echox:"
"""Begins each line that is ours; the others are Ray's or a library's."""


@dataclass(frozen=True)
class LogLine:
    """One line of a job's log.

    Attributes:
        text: of the line.
        level: of `logging`.
        progress: of a step, if the line tells of it.
    """

    text: str
    level: int = logging.INFO
    progress: Progress | None = None


class JsonLines(logging.Formatter):
    """Makes log records JSON lines that `parse` understands."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        progress = getattr(record, "progress", None)
        return MARK + json.dumps([record.levelno, text, asdict(progress) if progress else None])


def parse(line: str) -> LogLine:
    """A line of the log; what is not ours is taken as it is."""
    if not line.startswith(MARK):
        return LogLine(line)
    level, text, progress = json.loads(line.removeprefix(MARK))
    return LogLine(text, level, Progress(**progress) if progress else None)
