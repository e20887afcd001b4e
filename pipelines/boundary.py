"""The one error boundary: user mistakes exit with 2 and a message, failures with 1 and a traceback."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from pipelines.errors import USER_ERRORS
from pipelines.interruption import SHELL_CODE, Interruption, remembered
from unitlang.interrupts import patient_signals
from unitlang.printing import shown_lines

INTERRUPTED = SHELL_CODE + signal.SIGINT


def guarded(command: Callable[[], None]) -> NoReturn:
    """Run a command line and exit with its code; after an interrupt, whatever follows, with that of the signal."""
    with remembered() as stopped:
        try:
            with patient_signals():
                command()
        except SystemExit as stop:  # typer ends so, after KeyboardInterrupt too
            code = stop.code
        except BaseException as error:  # the boundary
            code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else _explained(error, stopped)
        else:
            code = 0
        if stopped.signal is not None or code == INTERRUPTED:
            _interrupted(stopped)
    sys.exit(code)


def _explained(error: BaseException, stopped: Interruption) -> int:
    """Print an error, unless it follows from an interrupt; return the exit code."""
    if isinstance(error, USER_ERRORS):
        print(shown_lines(f"error: {error}"), file=sys.stderr)  # noqa: T201
        return 2
    if stopped.signal is None:
        print_traceback(error)
    return 1


def _interrupted(stopped: Interruption) -> NoReturn:
    number = stopped.signal or signal.SIGINT
    print("interrupted; run the same command again to resume", file=sys.stderr)  # noqa: T201
    if stopped.abrupt:
        signal.signal(number, signal.SIG_IGN)  # this is the end already
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(SHELL_CODE + number)
    sys.exit(SHELL_CODE + number)


def print_traceback(error: BaseException) -> None:
    """Print the traceback of an exception."""
    print(shown_lines("".join(traceback.format_exception(error))), end="", file=sys.stderr)  # noqa: T201
