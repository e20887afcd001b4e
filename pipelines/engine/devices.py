"""Choice of the device that computes features in this process."""

import os

from threadpoolctl import threadpool_limits

RESERVED_CPUS = "ECHOX_RESERVED_CPUS"
"""Variable with the CPUs that Ray reserved for this process; it is absent without Ray."""
DECODE_THREADS_AT_MOST = 16


def prepare_device() -> tuple[str, int]:
    """Return torch's name of the device and the number of threads that should decode for it.

    A GPU if this process sees one (Ray shows a worker only the GPUs that it requested), with a decoding thread for each
    CPU that Ray reserved for this worker; without Ray, for each core, at most 16. Otherwise the CPU with one thread for
    everything: the parallelism is in the work units, and sums must not depend on the number of cores.
    """
    import torch

    if torch.cuda.is_available():
        cores = min(DECODE_THREADS_AT_MOST, os.cpu_count() or 1)
        return "cuda", int(os.environ.get(RESERVED_CPUS, cores))
    torch.set_num_threads(1)
    threadpool_limits(1, "blas")  # numpy's products (`unitlang.products`)
    return "cpu", 1
