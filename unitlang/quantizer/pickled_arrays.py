"""A reader of pickle and joblib files that builds arrays and nothing else.

A pickle is a program: it names importable objects and calls them. This reader looks up every name in a closed list of
inert stand-ins, created anew for each file, and refuses all others, so no code of the file runs. It reads the layouts
of numpy's `ndarray.__reduce__`, of `joblib.numpy_pickle.NumpyArrayWrapper` and of scikit-learn's estimators, whose
state is a plain dict.
"""

import bz2
import io
import lzma
import math
import pickle
import re
import zlib
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from unitlang.errors import UnitlangError

MAX_BYTES = 2 << 30
"""Largest content: ten times the largest codebook, and small enough for any machine."""
MAX_RATIO = 100
"""Largest content by the size of the compressed file; weights of models do not even halve."""
ALWAYS_BYTES = 64 << 20
"""Content that is accepted at any ratio."""

_DTYPE = re.compile(r"[|<>=]?([fiu][1248]|b1)")
_ESTIMATORS = ("KMeans", "MiniBatchKMeans")
_ESTIMATOR_MODULES = ("sklearn.cluster._kmeans", "sklearn.cluster.k_means_")  # since 0.22, before
_JOBLIB_MODULES = ("joblib.numpy_pickle", "sklearn.externals.joblib.numpy_pickle")


class _Inert:
    """Accepts the arguments and state of a pickled object and does nothing."""

    def __init__(self, *args: object) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Estimator(_Inert):
    """Stand-in for a scikit-learn estimator."""

    @property
    def attributes(self) -> dict[str, object]:
        """Attributes of the estimator; arrays among them are `PickledArray`."""
        state = getattr(self, "state", None)
        return cast("dict[str, object]", state) if isinstance(state, dict) else {}


class PickledArray(_Inert):
    """Stand-in for a numpy array."""

    def value(self) -> NDArray[np.generic]:
        """Return the array.

        Raises:
            UnitlangError: it holds Python objects, or its bytes do not fit its shape.
        """
        return _array(*self._layout())

    def _layout(self) -> tuple[Any, Any, Any, Any]:
        """Bytes, dtype, shape and whether the order is Fortran's."""
        _version, shape, dtype, fortran, data = cast("tuple[Any, ...]", self.state)
        return data, dtype, shape, fortran


class _BufferArray(PickledArray):
    """An array in protocol 5: `numpy.core.numeric._frombuffer(bytes, dtype, shape, order)`."""

    def _layout(self) -> tuple[Any, Any, Any, Any]:
        data, dtype, shape, order = self.args
        return data, dtype, shape, order == "F"


class _Dtype(_Inert):
    """Stand-in for `numpy.dtype(name, align, copy)` with the state (version, byte order, ...)."""

    def dtype(self) -> np.dtype[np.generic]:
        name = self.args[0]
        if not isinstance(name, str) or not _DTYPE.fullmatch(name):
            raise UnitlangError(f"an array of dtype {name!r} is not read: only numbers are")
        state = getattr(self, "state", None)
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="  # pyright: ignore
        return np.dtype(name).newbyteorder(order) if order in ("<", ">") else np.dtype(name)  # pyright: ignore


class _Bytes:
    """Stand-in for `_codecs.encode(text, "latin1")`, the form of bytes in protocol 2."""

    def __new__(cls, text: str, codec: str) -> Any:
        if codec != "latin1":
            raise UnitlangError(f"bytes written in {codec!r} are not read")
        return text.encode("latin1")

    def __setstate__(self, state: Any) -> None: ...


def read_pickle(data: bytes) -> object:
    """Read the contents of a pickle or joblib file, with stand-ins for everything that is not a plain value.

    Args:
        data: the file, possibly compressed with zlib, gzip, bz2, xz or lzma.

    Returns:
        Plain values, `PickledArray` and `Estimator`.

    Raises:
        UnitlangError: not a pickle, or it names something other than arrays and k-means models.
    """
    file = io.BytesIO(_decompress(data))
    try:
        return _Reader(file).load()
    except UnitlangError:
        raise
    except Exception as error:  # a malformed pickle may raise nearly anything
        raise UnitlangError(f"not a readable pickle or joblib file: {error or type(error).__name__}") from error


class _Reader(pickle._Unpickler):  # pyright: ignore
    """Python's own unpickler: the one in C allocates a table as large as the largest number of a memo."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)  # it reads no further than the current instruction
        self._stand_ins = _stand_ins(file)

    def find_class(self, module: str, name: str) -> Any:
        known = module.replace("numpy._core", "numpy.core")
        stand_in = self._stand_ins.get(f"{known}.{name}")
        if stand_in is None:
            raise UnitlangError(
                f"refused: it names {module}.{name}, only arrays and k-means models are read; "
                "where you trust it, load it with the program that wrote it and save cluster_centers_ as .npy"
            )
        return stand_in


def _stand_ins(file: BinaryIO) -> dict[str, type]:
    """Return every allowed name and its stand-in; the classes are new, so that no file can affect the next."""

    class JoblibArray(PickledArray):
        """A joblib array, whose raw bytes follow the pickled wrapper that describes it."""

        def __setstate__(self, state: Any) -> None:
            dtype, shape = _dtype(state["dtype"]), _shape(state["shape"])
            if state.get("numpy_array_alignment_bytes") is not None:  # joblib >= 1.2 pads to 16 bytes
                file.read(file.read(1)[0])
            data = file.read(math.prod(shape) * dtype.itemsize)
            self._read = (data, dtype, shape, state["order"] == "F")

        def _layout(self) -> tuple[Any, Any, Any, Any]:
            return self._read

    def fresh(base: type[_Inert]) -> type:
        return type(base.__name__, (base,), {})

    stand_ins = {
        "numpy.core.multiarray._reconstruct": fresh(PickledArray),
        "numpy.core.numeric._frombuffer": fresh(_BufferArray),
        "numpy.dtype": fresh(_Dtype),
        "_codecs.encode": type("Bytes", (_Bytes,), {}),
    }
    stand_ins |= {f"{module}.NumpyArrayWrapper": JoblibArray for module in _JOBLIB_MODULES}
    stand_ins |= {f"{m}.{name}": fresh(Estimator) for m in _ESTIMATOR_MODULES for name in _ESTIMATORS}
    ignored = (
        "numpy.ndarray",
        "numpy.core.multiarray.scalar",
        "numpy.random._pickle.__randomstate_ctor",
        "numpy.random._pickle.__bit_generator_ctor",
        "numpy.random._mt19937.MT19937",
    )
    return stand_ins | {name: fresh(_Inert) for name in ignored}


def _array(data: object, dtype: object, shape: object, fortran: object) -> NDArray[np.generic]:
    if not isinstance(data, bytes | bytearray):
        raise UnitlangError("an array of Python objects is not read: only numbers are")
    try:
        flat = np.frombuffer(data, _dtype(dtype))
        return flat.reshape(_shape(shape), order="F" if fortran else "C")
    except ValueError as error:
        raise UnitlangError(f"damaged array: {error}") from error


def _dtype(dtype: object) -> np.dtype[np.generic]:
    if isinstance(dtype, np.dtype):
        return dtype  # pyright: ignore
    if not isinstance(dtype, _Dtype):
        raise UnitlangError("damaged array: it has no dtype")
    return dtype.dtype()


def _shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):  # pyright: ignore
        raise UnitlangError(f"damaged array: its shape is {shape!r}")
    return shape  # pyright: ignore


def _decompress(data: bytes) -> bytes:
    if data.startswith((b"\x1f\x8b", b"\x78")):
        decompressor: Any = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # zlib or gzip, by the header
    elif data.startswith(b"BZh"):
        decompressor = bz2.BZ2Decompressor()
    elif data.startswith((b"\xfd7zXZ", b"\x5d\x00\x00")):
        decompressor = lzma.LZMADecompressor()
    else:
        return data
    try:
        most = min(MAX_BYTES, max(ALWAYS_BYTES, MAX_RATIO * len(data)))
        content: bytes = decompressor.decompress(data, most)
    except (zlib.error, OSError, lzma.LZMAError) as error:
        raise UnitlangError(f"damaged compressed file: {error}") from error
    if not decompressor.eof:
        raise UnitlangError(f"damaged compressed file: cut, or more than {most:,} bytes of content")
    return content
