import io
import logging

import pytest
from rich.console import Console

from pipelines.engine import progress
from pipelines.engine.progress import BytesProgress, bar, describe


@pytest.mark.parametrize(
    ("done", "total", "elapsed", "text"),
    [
        (4500, 21600, 180, "1.25/6.00 h, 0.42 h/min"),
        (0, 3600, 0, "0.00/1.00 h, 0.00 h/min"),
        (3600, 3600, 3600, "1.00/1.00 h, 0.02 h/min"),
        (360_000, 720_000, 60, "100.00/200.00 h, 100.00 h/min"),
    ],
)
def test_hours_done_and_hours_of_audio_a_minute(done: float, total: float, elapsed: float, text: str) -> None:
    # 1.25 h in 3 min are 0.4167 h of audio a minute
    assert describe(done, total, elapsed) == text


def test_elsewhere_than_on_a_terminal_lines_are_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", 0.0)
    console = Console(file=io.StringIO())
    with caplog.at_level(logging.INFO, "pipelines"), bar("quantize", 7200, console) as shown:
        shown.advance(1800)
        shown.advance(5400)
    first, last = caplog.messages
    assert first.startswith("quantize: 0.50/2.00 h, ")
    assert first.endswith(" s left")
    assert last.startswith("quantize: 2.00/2.00 h, ")
    assert last.endswith(", 0 s left")


def test_lines_are_not_logged_more_often_than_twice_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pipelines"), bar("quantize", 7200, Console(file=io.StringIO())) as shown:
        for _ in range(100):
            shown.advance(72)
    assert caplog.messages == []
    assert shown.done == 7200


def test_a_terminal_shows_a_bar_and_logs_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", 0.0)
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with caplog.at_level(logging.INFO, "pipelines"), bar("quantize", 7200, console) as shown:
        shown.advance(7200)
    written = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "quantize" in written
    assert "2.00/2.00 h" in written
    assert caplog.messages == []


def test_bytes_done_and_bytes_a_second(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(BytesProgress("copy", 1.5e9, 6e9, 10.0)) == "copy: 1.5 GB of 6.0 GB, 150.0 MB/s, 30 s left"
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", 0.0)
    quiet = Console(file=io.StringIO())
    with caplog.at_level(logging.INFO, "pipelines"), bar("copy", 4000, quiet, BytesProgress) as shown:
        shown.advance(1000)
    assert caplog.messages[0].startswith("copy: 1.0 kB of 4.0 kB, ")
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with bar("copy", 4000, console, BytesProgress) as shown:
        shown.advance(4000)
    assert "4.0 kB of 4.0 kB, " in console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
