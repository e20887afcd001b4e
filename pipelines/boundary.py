"""The one error boundary: user mistakes exit with 2 and a message, failures with 1 and a traceback."""

import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from pipelines.errors import USER_ERRORS
from unitlang.interrupts import patient_signals
from unitlang.printing import shown_lines

INTERRUPTED = 130


def guarded(command: Callable[[], None]) -> NoReturn:
    """Run a command line and exit with its code."""
    try:
        with patient_signals():
            command()
    except USER_ERRORS as error:
        print(shown_lines(f"error: {error}"), file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as stop:  # typer turns KeyboardInterrupt into SystemExit
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        print("interrupted; run the same command again to resume", file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)
    except Exception:  # the boundary: a failure shows its traceback
        print_traceback()
        sys.exit(1)
    sys.exit(0)


def print_traceback() -> None:
    """Print the traceback of the exception that is being handled."""
    print(shown_lines(traceback.format_exc()), end="", file=sys.stderr)  # noqa: T201
