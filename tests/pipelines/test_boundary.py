"""How a command line ends."""

import signal

import pytest

from pipelines.boundary import INTERRUPTED, guarded
from unitlang.interrupts import uninterrupted


def test_an_interrupt_while_decoding_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []

    def decode() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append("decoded")

    def command() -> None:
        uninterrupted(decode)
        done.append("committed")

    with pytest.raises(SystemExit) as stop:
        guarded(command)
    assert stop.value.code == INTERRUPTED
    assert done == ["decoded"]
    assert "run the same command again" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
