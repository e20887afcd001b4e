"""The log of a job arrives unchanged."""

import logging
import sys

from pipelines.cluster.job_log import MARK, JsonLines, LogLine, parse
from pipelines.engine.progress import Progress


def sent(record: logging.LogRecord) -> LogLine:
    line = JsonLines().format(record)
    assert "\n" not in line
    assert line.startswith(MARK)
    return parse(line)


def record(level: int, text: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("pipelines.steps.quantize", level, "file", 1, text, (), None)
    made.__dict__.update(extra)
    return made


def test_level_text_progress_and_outcome() -> None:
    progress = Progress("quantize", 10.0, 100.0, 5.0)
    assert sent(record(logging.WARNING, "two\nlines ü")) == LogLine("two\nlines ü", logging.WARNING)
    assert sent(record(logging.INFO, "so far", progress=progress)) == LogLine("so far", logging.INFO, progress)
    assert sent(record(logging.DEBUG, "done", outcome={"done": {"step": "encode"}})).outcome == {
        "done": {"step": "encode"}
    }
    assert progress.left == 45.0


def test_a_traceback_stays_with_its_line() -> None:
    try:
        raise RuntimeError("no luck")
    except RuntimeError:
        failed = logging.LogRecord("pipelines", logging.ERROR, "file", 1, "failed", (), sys.exc_info())
    assert sent(failed).text.endswith("RuntimeError: no luck")


def test_lines_of_others_are_taken_as_they_are() -> None:
    assert parse("2026 INFO job_manager.py: setting up") == LogLine(
        "2026 INFO job_manager.py: setting up", logging.INFO
    )
