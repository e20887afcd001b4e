"""Read published centroids: .npy, safetensors, and scikit-learn's pickles without unpickling."""

# Shapes: K = clusters, D = feature dims.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unitlang.errors import UnitlangError
from unitlang.quantizer.kmeans import check_k
from unitlang.quantizer.pickled_arrays import Estimator, PickledArray, read_pickle

FloatArray = NDArray[np.float32]


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
        raise UnitlangError(f"{path}: {error}") from error
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

    try:
        opened: Any = fsspec.open(path, "rb")
        with opened as file:
            return bytes(file.read())
    except (OSError, ValueError) as error:
        raise UnitlangError(f"cannot read {path}: {error}") from error


def _parse(data: bytes) -> NDArray[np.generic]:
    if data.startswith(b"\x93NUMPY"):
        try:
            return np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise UnitlangError(f"not a readable .npy file: {error}") from error
    if data[8:9] == b"{":
        return _from_safetensors(data)
    return _from_pickle(data)


def _from_safetensors(data: bytes) -> NDArray[np.generic]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except SafetensorError as error:
        raise UnitlangError(f"not a readable safetensors file: {error}") from error
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
