"""A stored file as a Python file that fetches only the parts that are read."""

import io
import os
from bisect import bisect_right, insort
from collections.abc import Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

import obstore
from obstore.exceptions import BaseError

from storage.errors import Unavailable
from storage.s3 import answered

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from obstore.store import LocalStore, S3Store

BLOCK_BYTES = 8 << 20
"""Bytes of one request of a file that is read from its begin to its end."""
TAIL_BYTES = 65_536
"""Bytes at the end of a file that are fetched first: a Parquet file has its footer there. Pyarrow's default too."""
HOLE_BYTES = 8192
"""Largest gap in bytes between two ranges of one request: a second request costs more. Arrow's default too."""


class RangeReader(io.RawIOBase):
    """Unbuffered random access; each read is one range request, except within the end of the file.

    One request fetches the end of the file and tells its size: a small file costs no other.

    Args:
        objects: client of the store.
        path: path of the file in the store.
        url: URL of the file, for messages.

    Raises:
        StorageError: there is no such file, or the store does not answer or refuses; reads raise it too.
    """

    def __init__(self, objects: "LocalStore | S3Store", path: str, url: str) -> None:
        self._objects = objects
        self._path = path
        self._url = url
        self._size, self._tail = answered(url, lambda: _end_of(objects, path))
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a byte position without fetching anything."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fetch the next bytes, as many as fit."""
        view = memoryview(buffer).cast("B")
        length = min(len(view), max(0, self._size - self._position))
        if length:
            held = self._position - self._size + len(self._tail)
            part = self._tail[held : held + length] if held >= 0 else answered(self._url, lambda: self._fetch(length))
            view[:length] = part
            self._position += length
        return length

    def _fetch(self, length: int) -> memoryview:
        data = memoryview(obstore.get_range(self._objects, self._path, start=self._position, length=length))
        if len(data) != length:
            raise Unavailable(f"{self._url}: {len(data)} bytes came, {length} were asked for")
        return data


def _end_of(objects: "LocalStore | S3Store", path: str) -> tuple[int, memoryview]:
    """Size of a file in bytes, and its last `TAIL_BYTES`."""
    try:
        found = obstore.get(objects, path, options={"range": {"suffix": TAIL_BYTES}})
        return found.meta["size"], memoryview(found.bytes())
    except FileNotFoundError:
        raise
    except BaseError:  # servers refuse a range of an empty file
        if size := obstore.head(objects, path)["size"]:
            raise
        return size, memoryview(b"")


class BinaryFile(Protocol):
    """Methods of a file that `Gathered` needs: `RangeReader`, or a local file."""

    def seek(self, offset: int, whence: int = ..., /) -> int:
        """Move to a byte position."""
        ...

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        """Read the next bytes, as many as fit."""
        ...


class Gathered(io.RawIOBase):
    """A stored file whose ranges can be fetched in advance, in few requests.

    Attributes:
        size: length in bytes.
    """

    def __init__(self, file: BinaryFile) -> None:
        self._file = file
        self._parts: list[tuple[int, memoryview]] = []
        self._position = 0
        self.size = file.seek(0, os.SEEK_END)

    def gather(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch ranges of bytes, each by its start and end, in the order of the file; those held are not fetched."""
        joined: list[tuple[int, int]] = []
        for start, end in ranges:
            if self._held(start, end - start) is not None:
                continue
            if joined and start - joined[-1][1] <= HOLE_BYTES:
                start, _ = joined.pop()
            joined.append((start, end))
        for start, end in joined:
            insort(self._parts, (start, memoryview(self.read_at(start, end - start))), key=itemgetter(0))

    def read_at(self, start: int, length: int) -> bytes:
        """Read bytes from a position; fewer at the end of the file."""
        self.seek(start)
        return self.read(length) or b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a byte position without fetching anything."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read the next bytes, from memory if all of them were fetched."""
        view = memoryview(buffer).cast("B")
        held = self._held(self._position, len(view))
        if held is None:
            self._file.seek(self._position)
            length = self._file.readinto(view) or 0
        else:
            length = len(held)
            view[:] = held
        self._position += length
        return length

    def _held(self, start: int, length: int) -> memoryview | None:
        """The bytes of a range, if one part has them all."""
        index = bisect_right(self._parts, start, key=itemgetter(0)) - 1
        for first, part in self._parts[max(0, index) : index + 1]:
            found = part[start - first :][:length]
            if len(found) == length:
                return found
        return None
