"""Libraries that fairseq2's compiled part needs before it can be loaded."""

import ctypes
import functools
from pathlib import Path


@functools.cache
def load_libsndfile() -> None:
    """Load the libsndfile that the `soundfile` package brings, so that none of the system's is needed."""
    import _soundfile_data

    for library in Path(_soundfile_data.__file__).parent.glob("libsndfile*.so"):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
