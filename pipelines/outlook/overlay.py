"""A store that is read but never written: what would be written goes elsewhere."""

from collections.abc import Iterable, Iterator

from typing_extensions import override

from storage.errors import AlreadyExists
from storage.ranges import RangeReader
from storage.s3 import Listed
from storage.store import Store
from storage.uris import Bucket, parse_uri


class Overlay(Store):
    """A store whose writes go to another one. What is there hides what this one has under the same path.

    Attributes:
        scratch: receives the writes.
    """

    scratch: Store

    @override
    def get(self, path: str) -> bytes:
        return self.scratch.get(path) if self.scratch.exists(path) else super().get(path)

    @override
    def reader(self, path: str) -> RangeReader:
        return self.scratch.reader(path) if self.scratch.exists(path) else super().reader(path)

    @override
    def size(self, path: str) -> int:
        return self.scratch.size(path) if self.scratch.exists(path) else super().size(path)

    @override
    def listed(self, prefix: str = "") -> Iterator[Listed]:
        written = {file.path: file for file in self.scratch.listed(prefix)}
        yield from written.values()
        yield from (file for file in super().listed(prefix) if file.path not in written)

    @override
    def put(self, path: str, data: bytes) -> None:
        self.scratch.put(path, data)

    @override
    def create(self, path: str, data: bytes) -> None:
        if self.exists(path):
            raise AlreadyExists(f"{self.url(path)} exists")
        self.scratch.create(path, data)

    @override
    def delete(self, path: str) -> None:
        """Remove a file that was written; a file of the store stays."""
        self.scratch.delete(path)

    @override
    def settle(self, folders: Iterable[str]) -> None:
        self.scratch.settle(folders)

    @override
    def remove_leftovers(self, min_age_seconds: float = 0) -> int:
        """Remove nothing."""
        del min_age_seconds
        return 0


def overlaid(uri: str, scratch: Store) -> Overlay:
    """Open a folder or bucket that exists for reading, with another store for what is written.

    Raises:
        StorageError: there is none, or it cannot be read.
    """
    made = Overlay.open(uri, create=isinstance(parse_uri(uri), Bucket))  # an empty bucket is a new store
    made.scratch = scratch
    return made
