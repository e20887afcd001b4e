"""A waveform that can be read more than once: in memory while it is short, in a temporary file beyond that."""

# Shapes: N = samples at 16 kHz.

from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile

import numpy as np
from numpy.typing import NDArray

from unitlang.errors import UnitlangError

FloatArray = NDArray[np.float32]

_SAMPLE_BYTES = np.dtype(np.float32).itemsize


class Recording:
    """The samples of one utterance.

    Args:
        blocks: waveform_N float32 arrays of any size, 16 kHz mono; read immediately.
        memory_samples: most samples kept in memory; a longer waveform is stored in the temporary folder (`TMPDIR`),
            230 MB per hour, until `close`.

    Raises:
        UnitlangError: blocks that are not one-dimensional, or hold NaN or infinite samples.
    """

    def __init__(self, blocks: Iterable[FloatArray], memory_samples: int) -> None:
        self._file = SpooledTemporaryFile[bytes](max_size=memory_samples * _SAMPLE_BYTES)
        for block_N in checked(blocks):
            self._file.write(block_N.tobytes())

    def blocks(self, samples: int) -> Iterator[FloatArray]:
        """Yield the waveform from its start, in blocks of `samples`; the last one may be shorter."""
        self._file.seek(0)
        while data := self._file.read(samples * _SAMPLE_BYTES):
            yield np.frombuffer(data, np.float32)

    def close(self) -> None:
        """Free the memory, or remove the file."""
        self._file.close()


def checked(blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
    """Yield the blocks as float32.

    Raises:
        UnitlangError: a block is not one-dimensional, or holds NaN or infinite samples.
    """
    for block_N in blocks:
        if block_N.ndim != 1:
            raise UnitlangError(f"a waveform must be one-dimensional (mono), got shape {block_N.shape}")
        if not np.isfinite(block_N).all():
            raise UnitlangError("the waveform holds NaN or infinite samples")
        yield np.asarray(block_N, np.float32)
