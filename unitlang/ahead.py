"""Ordered, bounded work in background threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice, repeat, takewhile
from typing import Any, TypeVar

T = TypeVar("T")


def run_ahead(jobs: Iterable[Callable[[], T]], *, threads: int, depth: int) -> Iterator[T]:
    """Yield the results of the jobs in their order while up to `depth` more jobs run in `threads` threads.

    An exception of a job is raised when its result is due. If the iterator is closed early, jobs that have not started
    are cancelled.

    Args:
        jobs: functions without arguments.
        threads: number of threads.
        depth: most jobs that are submitted and not yet yielded.
    """
    with ThreadPoolExecutor(threads) as pool:
        yield from run_in(pool, jobs, depth=depth)


def run_in(pool: ThreadPoolExecutor, jobs: Iterable[Callable[[], T]], *, depth: int) -> Iterator[T]:
    """Run jobs like `run_ahead`, in a pool that the caller owns and may reuse."""
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
    """Yield the items while one background thread computes up to `depth` of the next ones."""
    end: Any = object()
    made = run_ahead(repeat(partial(next, items, end)), threads=1, depth=depth)
    return takewhile(lambda item: item is not end, made)
