"""Read published centroids: .npy, safetensors, and scikit-learn's pickles without unpickling."""

# Shapes: K = clusters, D = feature dims.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unitlang.errors import UnitlangError
from unitlang.quantizer.kmeans import check_k
from unitlang.quantizer.pickled_arrays import MAX_BYTES, Estimator, PickledArray, read_pickle

FloatArray = NDArray[np.float32]

MAX_HEADER_BYTES = 1 << 20
"""Largest header of a safetensors file; that of a codebook has about 100 bytes."""
_BLOCK_BYTES = 16 << 20
SHOWN_CHARACTERS = 300
"""Characters of a fault that are shown; it may quote the file."""


def read_centroids(path: str | Path) -> FloatArray:
    """Read a codebook without running code from the file.

    Args:
        path: path or fsspec URL of a .npy file, a safetensors file (tensor `centroids`, or the only one), or a
            scikit-learn KMeans or MiniBatchKMeans saved by joblib or pickle, compressed or not.

    Returns:
        centroids_KD float32.

    Raises:
        UnitlangError: the file is missing, has another format, holds something other than arrays, or its array is not a
            codebook (shape, NaN, k out of range).
    """
    data = _read_bytes(str(path))
    try:
        array = _parse(data)
    except UnitlangError as error:
        raise UnitlangError(f"{path}: {str(error)[:SHOWN_CHARACTERS]}") from error
    return check_centroids(array, str(path))


def check_centroids(array: NDArray[np.generic], source: str) -> FloatArray:
    """Check `array` and return it as centroids_KD float32.

    Raises:
        UnitlangError: it is not a matrix of finite numbers, or has too few or too many rows.
    """
    if array.ndim != 2 or array.dtype.kind not in "fiu" or array.shape[1] == 0:
        raise UnitlangError(f"{source}: centroids must be a matrix of numbers, got {array.dtype} {array.shape}")
    check_k(len(array))
    centroids_KD = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(centroids_KD).all():
        raise UnitlangError(f"{source}: the centroids hold NaN or infinite values")
    return centroids_KD


def _read_bytes(path: str) -> bytes:
    import fsspec

    if Path(path).exists() and not Path(path).is_file():
        raise UnitlangError(f"cannot read {path}: a folder, pipe or device, not a file")
    try:
        opened: Any = fsspec.open(path, "rb")
        with opened as file:
            return b"".join(_blocks(file, opened.fs.size(opened.path)))
    except (OSError, ValueError) as error:
        raise UnitlangError(f"cannot read {path}: {error}") from error


def _blocks(file: Any, size: int | None) -> Iterator[bytes]:
    """Yield the contents of a file, of known size or not, unless it is too large for a codebook."""
    total = size or 0
    while total <= MAX_BYTES:
        if not (block := bytes(file.read(_BLOCK_BYTES))):
            return
        total += 0 if size else len(block)
        yield block
    raise ValueError(f"more than {MAX_BYTES:,} bytes, so it is no codebook")


def _parse(data: bytes) -> NDArray[np.generic]:
    if data.startswith(b"\x93NUMPY"):
        return _from_npy(data)
    if data.startswith(b"PK\x03\x04"):
        raise UnitlangError("an archive (.npz or .zip) is not read; save the one array of centroids as .npy")
    if data[8:9] == b"{":
        return _from_safetensors(data)
    return _from_pickle(data)


def _from_npy(data: bytes) -> NDArray[np.generic]:
    """The array; numpy would allocate what the header states, before it finds the file too short."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if (stated := math.prod(shape) * dtype.itemsize) > len(data):
            raise ValueError(f"its header states {stated:,} bytes, and the file has {len(data):,}")
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, MemoryError, RecursionError) as error:
        raise UnitlangError(f"not a readable .npy file: {error}") from error


def _from_safetensors(data: bytes) -> NDArray[np.generic]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
        raise UnitlangError(f"not a readable safetensors file: its header is larger than {MAX_HEADER_BYTES:,} bytes")
    try:
        tensors = load(data)
    except (SafetensorError, ValueError) as error:
        raise UnitlangError(f"not a readable safetensors file: {error}") from error
    except KeyError as error:
        raise UnitlangError(f"numbers of the type {error} are not read; save the centroids as float32") from error
    if len(tensors) == 1:
        return next(iter(tensors.values()))
    if "centroids" in tensors:
        return tensors["centroids"]
    raise UnitlangError(f"no tensor is named centroids: there are {', '.join(sorted(tensors)) or 'none'}")


def _from_pickle(data: bytes) -> NDArray[np.generic]:
    content = read_pickle(data)
    if isinstance(content, Estimator):
        content = content.attributes.get("cluster_centers_")
        if content is None:
            raise UnitlangError("the k-means model was never fitted: it has no cluster_centers_")
    if not isinstance(content, PickledArray):
        raise UnitlangError("it holds neither a k-means model nor an array")
    return content.value()
