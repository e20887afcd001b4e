"""Process many frames in chunks by several threads, with results that do not depend on the number of threads."""

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
    """Threads that each process one chunk at a time.

    Attributes:
        threads: number of threads.
    """

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self._pool = pool
        self.threads = threads

    def each_chunk(self, work: Callable[[FloatArray, int], T], frames_ND: FrameArray) -> Iterator[T]:
        """Yield the result of `work` for each chunk, in the order of the chunks.

        At most two chunks per thread are in progress or waiting to be consumed.

        Args:
            work: called with part_ND float32 of up to `CHUNK_FRAMES` frames, which it must not change, and the index of
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
    """Start threads for the length of a `with`; inside it numpy's matrix products use one thread each.

    Args:
        threads: number of threads; by default the number of cores that this process may use.
    """
    threads = threads or len(os.sched_getaffinity(0))
    with threadpool_limits(limits=1), ThreadPoolExecutor(threads) as pool:
        yield Workers(pool, threads)
