"""Safetensors files, written one tensor at a time."""

import json
import os
import secrets
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from echox.errors import EchoxError
from storage.local import make_folders, sync_folder

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
    temporary = path.with_name(f"{path.name}#{secrets.randbits(64)}")
    try:
        make_folders(path.parent)
        try:
            with temporary.open("xb") as file:
                file.write(_header(tensors, metadata or {}))
                for name in sorted(tensors):
                    file.write(_bytes(tensors[name].value().detach()))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise EchoxError(
            f"cannot write {path}: {error.strerror}; make room and start the same command again"
        ) from error


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
