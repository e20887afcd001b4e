"""The signal that stopped a command, Ctrl-C or SIGTERM, remembered, so that no error that follows hides it.

The handler of a signal can only raise an exception. Ray may turn that into an error of its own, and what runs in a
callback or a finalizer drops it.
"""

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import current_thread, main_thread
from types import FrameType

SHELL_CODE = 128
"""A shell shows the death by signal n as this exit code plus n."""


@dataclass
class Interruption:
    """Interruption of a command, as far as it is known.

    Attributes:
        signal: number of the last signal that came to stop it; None = none.
        abrupt: end the process without the interpreter's teardown, which crashes if Ray was interrupted.
    """

    signal: int | None = None
    abrupt: bool = False

    def check(self) -> None:
        """Raise the interrupt again, where its first exception may have been dropped.

        Raises:
            KeyboardInterrupt: a signal has come.
        """
        if self.signal is not None:
            raise KeyboardInterrupt


_commands: list[Interruption] = []


def interruption() -> Interruption:
    """The interruption of the command that runs; one that nobody looks at if there is none."""
    return _commands[-1] if _commands else Interruption()


@contextmanager
def remembered() -> Generator[Interruption]:
    """Remember that SIGINT came to the command inside; its handler still raises."""
    found = Interruption()
    _commands.append(found)
    try:
        with _noted(signal.SIGINT, signal.getsignal(signal.SIGINT)):
            yield found
    finally:
        _commands.remove(found)


@contextmanager
def terminable() -> Generator[None]:
    """Let SIGTERM unwind what is inside, and remember it.

    Its default is to kill the process. A handler that is installed is kept.
    """
    handler = signal.getsignal(signal.SIGTERM)
    with _noted(signal.SIGTERM, _exit if handler == signal.SIG_DFL else handler):
        yield


@contextmanager
def _noted(number: int, handler: Callable[[int, FrameType | None], object] | int | None) -> Generator[None]:
    """Note a signal and call its handler; does nothing for an ignored signal, or outside the main thread."""
    if not callable(handler) or current_thread() is not main_thread():
        yield
        return

    def came(number: int, frame: FrameType | None) -> None:
        interruption().signal = number
        handler(number, frame)

    before = signal.signal(number, came)
    try:
        yield
    finally:
        signal.signal(number, before)


def _exit(number: int, _: FrameType | None) -> None:
    raise SystemExit(SHELL_CODE + number)
