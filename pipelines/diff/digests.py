"""Digests of table columns: what is kept in memory of the rows of a version.

Shapes: N = rows, V = different values of a column.
"""

from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Digests = NDArray[np.uint64]
NULL = np.uint64(0)
"""Digest of a missing value."""
FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd factor that makes the combination of digests depend on their order."""


def digest8(value: object) -> int:
    """Return 64 bits that differ for different values of one column."""
    return int.from_bytes(blake2b(repr(value).encode(), digest_size=8).digest(), "little")


def digests_of(column: pa.ChunkedArray) -> Digests:
    """Return a digest of each value of a column, of shape (N,); each different value is hashed once."""
    values = column.combine_chunks()
    if pa.types.is_nested(values.type):
        values = pa.array([None if value is None else repr(value) for value in values.to_pylist()], pa.string())
    encoded = values.dictionary_encode()
    digests_V = np.array([NULL, *map(digest8, encoded.dictionary.to_pylist())], np.uint64)
    return digests_V[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 1]


def combined(*columns: Digests) -> Digests:
    """Return one digest of several columns for each row, of shape (N,)."""
    total_N = np.zeros(len(columns[0]), np.uint64)
    for digests_N in columns:
        total_N = total_N * FACTOR + digests_N
    return total_N


def names_of(column: pa.ChunkedArray) -> dict[int, str]:
    """Return the different names of a column by digest."""
    return {digest8(name): name for name in column.unique().to_pylist() if name is not None}
