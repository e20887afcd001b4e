"""Safetensors files, written one tensor at a time."""

import json
import struct
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from echox.errors import EchoxError
from storage.errors import StorageError
from storage.local import write_parts

DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64", torch.int64: "I64"}
ALIGNMENT = 8
"""Bytes to which the format's header is padded."""


class Promised(NamedTuple):
    """A tensor that is computed when it is written.

    Attributes:
        shape: its shape.
        dtype: its dtype.
        value: computes it.
    """

    shape: torch.Size
    dtype: torch.dtype
    value: Callable[[], Tensor]

    @classmethod
    def of(cls, tensor: Tensor) -> "Promised":
        """Return a tensor that is there already."""
        return cls(tensor.shape, tensor.dtype, lambda: tensor)


def write_tensors(path: Path, tensors: Mapping[str, Promised], metadata: Mapping[str, str] | None = None) -> None:
    """Write a whole file or none, with one tensor in memory at a time; the same tensors give the same bytes.

    Raises:
        EchoxError: the disk refuses (full, read-only, no permission).
    """
    header = _header(tensors, metadata or {})
    values = (_bytes(tensors[name].value().detach()) for name in sorted(tensors))
    try:
        write_parts(path, chain([header], values), replace=True)
    except StorageError as error:
        raise EchoxError(f"{error}; make room and start the same command again") from error


def _header(tensors: Mapping[str, Promised], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in sorted(tensors):
        shape, dtype, _ = tensors[name]
        begin, end = end, end + shape.numel() * dtype.itemsize
        entries[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _bytes(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor; numpy has no bfloat16."""
    values: Any = tensor.cpu().contiguous().flatten().view(torch.uint8).numpy()
    return memoryview(values)
