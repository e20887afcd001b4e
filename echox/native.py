"""Libraries that must be loaded before fairseq2's compiled part."""

import ctypes
import functools
from pathlib import Path


@functools.cache
def load_libsndfile() -> None:
    """Load the libsndfile of the `soundfile` package, so that the system needs none."""
    import _soundfile_data

    for library in Path(_soundfile_data.__file__).parent.glob("libsndfile*.so"):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
