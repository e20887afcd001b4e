"""Where the features of this process are computed."""

import os

from threadpoolctl import threadpool_limits

DECODE_THREADS_AT_MOST = 16


def prepare_device() -> tuple[str, int]:
    """Name of the device, as torch calls it, and how many threads should decode for it.

    A GPU, where this process sees one (Ray shows a worker those that it asked for): as many cores decode as there
    are. Else the CPU, and all on one thread: work units are the parallelism, and sums must not depend on the number
    of cores.
    """
    import torch

    if torch.cuda.is_available():
        return "cuda", min(DECODE_THREADS_AT_MOST, os.cpu_count() or 1)
    torch.set_num_threads(1)
    threadpool_limits(1, "blas")  # numpy's products (`unitlang.products`)
    return "cpu", 1
