"""How a command line ends."""

import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import pytest

from pipelines.boundary import INTERRUPTED, guarded
from pipelines.errors import UserError
from pipelines.interruption import interruption, terminable
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


def interrupted_and(error: BaseException | None) -> Callable[[], None]:
    """A command in which an interrupt is dropped, as in callbacks, or becomes another error, as in Ray."""

    def command() -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        if error is not None:
            raise error

    return command


@pytest.mark.parametrize(
    "error",
    [None, RuntimeError("Ray is gone"), UserError("the store is gone"), SystemExit(1), SystemExit("gone"), KeyError()],
    ids=repr,
)
def test_whatever_follows_an_interrupt_is_the_interrupt(
    error: BaseException | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        guarded(interrupted_and(error))
    assert stop.value.code == INTERRUPTED
    said = capsys.readouterr().err
    assert "interrupted; run the same command again" in said
    assert "Traceback" not in said
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, 0), (RuntimeError("failed"), 1), (UserError("mistaken"), 2), (SystemExit(3), 3), (SystemExit(None), None)],
    ids=repr,
)
def test_without_an_interrupt_the_code_is_that_of_the_end(error: BaseException | None, code: int | None) -> None:
    def command() -> None:
        if error is not None:
            raise error

    with pytest.raises(SystemExit) as stop:
        guarded(command)
    assert stop.value.code == code
    assert interruption().signal is None


def test_a_dropped_interrupt_is_raised_at_the_next_check() -> None:
    done: list[str] = []

    def command() -> None:
        interruption().check()
        interrupted_and(None)()
        done.append("dropped")
        interruption().check()
        done.append("committed")

    with pytest.raises(SystemExit):
        guarded(command)
    assert done == ["dropped"]


def test_sigterm_unwinds_where_it_is_wanted() -> None:
    cleaned: list[str] = []

    def command() -> None:
        with terminable():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                cleaned.append("cleaned")

    with pytest.raises(SystemExit) as stop:
        guarded(command)
    assert (stop.value.code, cleaned) == (128 + signal.SIGTERM, ["cleaned"])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_ignored_signal_stays_ignored(number: signal.Signals) -> None:
    """Shells make background commands ignore Ctrl-C."""

    def command() -> None:
        with terminable():
            signal.raise_signal(number)

    before = signal.signal(number, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit) as stop:
            guarded(command)
        assert stop.value.code == 0
    finally:
        signal.signal(number, before)


def test_another_handler_of_sigterm_is_kept() -> None:
    """Prefect's raises what its engine takes for a cancellation."""

    class Cancelled(BaseException):
        pass

    def handler(*_: object) -> NoReturn:
        raise Cancelled

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(Cancelled), terminable():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_after_an_interrupt_of_ray_the_interpreter_is_not_torn_down() -> None:
    program = (
        "import atexit, os, signal, sys\n"
        "from pipelines.boundary import guarded\n"
        "from pipelines.interruption import interruption\n"
        "atexit.register(lambda: os._exit(11))\n"
        "def command():\n"
        "    interruption().abrupt = True\n"
        "    print('said', end='')\n"
        "    if sys.argv[1] == 'interrupt':\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "guarded(command)\n"
    )
    for argument, code in (("interrupt", INTERRUPTED), ("no", 11)):
        made = subprocess.run([sys.executable, "-c", program, argument], capture_output=True, text=True, check=False)
        assert (made.returncode, made.stdout) == (code, "said")
