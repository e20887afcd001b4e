"""Work on many frames in chunks, by several threads, with results that do not depend on how many there are."""

# Shapes: N = frames, D = feature dims.

import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from unitlang.ahead import run_in

FloatArray = NDArray[np.float32]
FrameArray = NDArray[np.floating[Any]]

CHUNK_FRAMES = 8_192
"""25 MB of 768 dims in float32; fixed, since sums are rounded chunk by chunk."""

T = TypeVar("T")


class Workers:
    """Threads that each work on one chunk at a time.

    Attributes:
        threads: how many.
    """

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self._pool = pool
        self.threads = threads

    def each_chunk(self, work: Callable[[FloatArray, int], T], frames_ND: FrameArray) -> Iterator[T]:
        """What `work` makes of each chunk, in the order of the chunks.

        At most two chunks a thread are under way or wait to be taken.

        Args:
            work: is given part_ND float32 of up to `CHUNK_FRAMES` frames, not to be written to, and the number of
                its first frame.
            frames_ND: any floating type.
        """
        starts = range(0, len(frames_ND), CHUNK_FRAMES)
        jobs = (partial(_in_float32, work, frames_ND[start : start + CHUNK_FRAMES], start) for start in starts)
        return run_in(self._pool, jobs, depth=2 * self.threads)


def _in_float32(work: Callable[[FloatArray, int], T], part_ND: FrameArray, start: int) -> T:
    return work(np.ascontiguousarray(part_ND, np.float32), start)


@contextmanager
def start_workers(threads: int | None = None) -> Generator[Workers]:
    """Threads for the length of a `with`; meanwhile numpy's matrix products take one thread each.

    Args:
        threads: how many; by default as many as this process may use cores.
    """
    threads = threads or len(os.sched_getaffinity(0))
    with threadpool_limits(limits=1), ThreadPoolExecutor(threads) as pool:
        yield Workers(pool, threads)
