"""Doing work in other threads before its turn, in order and with a bound."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice, repeat, takewhile
from typing import Any, TypeVar

T = TypeVar("T")


def run_ahead(jobs: Iterable[Callable[[], T]], *, threads: int, depth: int) -> Iterator[T]:
    """Results of the jobs in their order, while the next `depth` of them run in `threads` threads.

    What a job raises is raised in its turn. When the iterator is left early, jobs that have not begun never do.
    """
    waiting = iter(jobs)
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[T]] = deque(pool.submit(job) for job in islice(waiting, depth))
        try:
            while pending:
                result = pending.popleft().result()
                pending.extend(pool.submit(job) for job in islice(waiting, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()


def ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """The items, made by one other thread while the earlier ones are in use, `depth` of them before their turn."""
    end: Any = object()
    made = run_ahead(repeat(partial(next, items, end)), threads=1, depth=depth)
    return takewhile(lambda item: item is not end, made)
