"""Signals wait while FFmpeg works, for an exception that a handler raises there may be lost.

PyAV drops KeyboardInterrupt where FFmpeg calls back into Python for bytes, and FFmpeg takes the read for the end of the
file. PyAV's own modules drop it, too, while they note the line of an error, which is at every frame; no sample changes
by that, but the program goes on. `unitlang.audio.sources` averts the former for local files everywhere.
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
"""Signals whose handlers raise to stop what is being done."""


class Carried(Exception):  # noqa: N818 - carries an error, is none
    """Brings an exception that PyAV would drop through it to `uninterrupted`, as its cause."""


@contextmanager
def patient_signals() -> Generator[None]:
    """Within it, handlers of `WAITING` that are in place at its start never run during `uninterrupted`, but after it.

    In threads other than the main one it does nothing: handlers do not run there.
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
    """What the call returns, unless it raises or, after it, the handler of a signal that came meanwhile does.

    A second signal does not wait, so that a read that hangs can be broken off; the first is not forgotten over it.
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
    """Stands in for handlers, and hands signals on to them at once but within its `with`.

    So it does no harm where an exception, or somebody who put it back, leaves it in place for good.
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
