"""Ordered, bounded work in other threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice, repeat, takewhile
from typing import Any, TypeVar

T = TypeVar("T")


def run_ahead(jobs: Iterable[Callable[[], T]], *, threads: int, depth: int) -> Iterator[T]:
    """Yield the results of the jobs in their order, while the next `depth` of them run in `threads` threads.

    An exception of a job is raised in its turn. When the iterator is left early, jobs that have not begun never do.
    """
    with ThreadPoolExecutor(threads) as pool:
        yield from run_in(pool, jobs, depth=depth)


def run_in(pool: ThreadPoolExecutor, jobs: Iterable[Callable[[], T]], *, depth: int) -> Iterator[T]:
    """`run_ahead` in the threads of a pool that is used more than once."""
    waiting = iter(jobs)
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
    """Yield the items; one other thread makes up to `depth` of them while the earlier ones are in use."""
    end: Any = object()
    made = run_ahead(repeat(partial(next, items, end)), threads=1, depth=depth)
    return takewhile(lambda item: item is not end, made)
