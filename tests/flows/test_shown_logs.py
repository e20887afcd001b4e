"""Log records and errors, as a terminal and Prefect's server get them."""

import io
import logging

import pytest
from rich.logging import RichHandler

from flows.command import LogFormat, Terminal
from flows.relay import ShownRecords, errors_shown
from pipelines.errors import UserError

NAME = "a\x1b]0;owned\x07\u202e.wav"
URL = "https://reader:Tr0ub4dor@example.org/a.wav?token=Tr0ub4dor"
SHOWN = r"a\x1b]0;owned\x07\u202e.wav https://***@example.org/a.wav?token=***"


def failure() -> RuntimeError:
    """An error with a cause, both with a hostile name and a secret."""
    try:
        try:
            raise OSError(5, URL, NAME)
        except OSError as cause:
            raise RuntimeError(f"{NAME} {URL}") from cause
    except RuntimeError as error:
        return error


def test_the_log_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(stderr=True)
    terminal.file, terminal.width = io.StringIO(), 400
    handler = RichHandler(console=terminal, show_path=False)
    handler.setFormatter(LogFormat("%(message)s", datefmt="%X"))
    error = failure()
    record = logging.LogRecord("x", logging.WARNING, "", 0, "no %s", (f"{NAME} {URL}\n:x: [red]",), None)
    broken = logging.LogRecord("x", logging.ERROR, "", 0, "broken", (), (type(error), error, error.__traceback__))
    handler.handle(record)
    handler.handle(broken)
    text = terminal.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert f"no {SHOWN}\\n:x: [red]" in text
    assert "Traceback (most recent call last)" in text
    assert "Tr0ub4dor" not in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


@pytest.mark.parametrize("kind", [RuntimeError, UserError])
def test_the_log_of_a_run(kind: type[Exception]) -> None:
    error = failure() if kind is RuntimeError else UserError(f"{NAME} {URL}")
    record = logging.LogRecord(
        "prefect.task_runs", logging.ERROR, "", 0, "failed: %s", (error,), (kind, error, error.__traceback__)
    )
    assert ShownRecords().filter(record)
    text = logging.Formatter().format(record)
    assert text.splitlines()[0] == f"failed: {SHOWN}"
    assert ("Traceback" in text) == (kind is RuntimeError)
    assert "Tr0ub4dor" not in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_the_state_of_a_run() -> None:
    with pytest.raises(UserError) as raised, errors_shown():
        raise UserError(f"{NAME} {URL}")
    assert str(raised.value) == SHOWN
