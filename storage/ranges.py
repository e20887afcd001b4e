"""A stored file as a Python file that fetches only the parts that are read."""

import io
import os
from typing import TYPE_CHECKING

import obstore

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from obstore.store import LocalStore, S3Store


class RangeReader(io.RawIOBase):
    """Unbuffered random access; each read is one range request."""

    def __init__(self, objects: "LocalStore | S3Store", path: str) -> None:
        self._objects = objects
        self._path = path
        self._size = obstore.head(objects, path)["size"]
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
            view[:length] = obstore.get_range(self._objects, self._path, start=self._position, length=length)
            self._position += length
        return length
