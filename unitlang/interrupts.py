"""Delay signals while FFmpeg works, because an exception raised by a handler there may be lost.

PyAV drops KeyboardInterrupt when FFmpeg calls back into Python for bytes, and FFmpeg takes the failed read for the end
of the file. PyAV's own modules also drop it while they record the line of an error, which happens at every frame; no
sample changes then, but the program does not stop. `unitlang.audio.sources` prevents the first case for local files
everywhere.
"""

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

WAITING = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGHUP)
"""Signals whose handlers raise to stop the program."""


class Carried(Exception):  # noqa: N818 - carries an error, is none
    """Carries an exception that PyAV would drop, as its cause, to `uninterrupted`."""


@contextmanager
def patient_signals() -> Generator[None]:
    """Delay the handlers of `WAITING` that are installed at the start until each `uninterrupted` call has returned.

    Does nothing outside the main thread: handlers do not run in other threads.
    """
    if current_thread() is not main_thread():
        yield
        return
    outer, waiting = _Handlers.current, _Handlers()
    try:
        waiting.install()
        _Handlers.current = waiting
        yield
    finally:
        _Handlers.current = outer
        waiting.remove()


def uninterrupted(call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Return the call's result; raise its error, or that of the handler of a signal that came meanwhile.

    A second signal is handled at once, so that a hanging read can be interrupted; the first is still handled
    afterwards.

    Raises:
        Exception: any that `call` or a signal handler raises.
    """
    handlers = _Handlers.current
    try:
        if handlers is None or current_thread() is not main_thread():
            return call(*args, **named)
        with handlers:
            return call(*args, **named)
    except Carried as carried:
        raise carried.__cause__ or carried from None


class _Handlers:
    """Replaces signal handlers and forwards signals at once, except within its `with`.

    Harmless if an exception, or code that restores handlers, leaves it installed for good.
    """

    current: "_Handlers | None" = None

    def __init__(self) -> None:
        self._true: dict[int, Callable[[int, FrameType | None], object]] = {}
        self._busy = False
        self._first: tuple[int, FrameType | None] | None = None

    def install(self) -> None:
        for number in WAITING:
            handler = signal.getsignal(number)
            if callable(handler):
                self._true[number] = handler
                signal.signal(number, self._came)

    def remove(self) -> None:
        for number, handler in self._true.items():
            if signal.getsignal(number) == self._came:
                signal.signal(number, handler)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self._busy and self._first is None:
            self._first = number, frame
        else:
            self._true[number](number, frame)

    def __enter__(self) -> None:
        self._first = None
        self._busy = True

    def __exit__(self, *_: object) -> None:
        self._busy = False
        if self._first is not None:
            self._true[self._first[0]](*self._first)
