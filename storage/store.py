"""A store: files under a folder or a bucket's prefix, each written whole or not at all."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import obstore
from obstore.store import LocalStore, S3Store

from storage.errors import NotFound
from storage.local import LEFTOVER_SECONDS, leftovers, open_folder, remove_leftovers, sync_folder, write_file
from storage.ranges import RangeReader
from storage.s3 import Listed, again, answered, connect, create_object, explained, list_objects, open_bucket
from storage.uris import Bucket, parse_uri

SAFE_PATH = re.compile(r"(?!\.\.?(/|$))[\w.=+-]+(/(?!\.\.?(/|$))[\w.=+-]+)*", re.ASCII)
"""File paths that are valid on every disk and server."""


class Store:
    """Files of one store, by paths relative to it (`data/units/0a1b.parquet`).

    Open one with `Store.open`. It can be pickled: the copy opens the same place, with the credentials of its own
    environment. Threads may share it. All methods raise `StorageError` if the disk or the server refuses.

    Attributes:
        uri: absolute path or `s3://bucket/prefix`, without a slash at the end.
    """

    def __init__(self, place: Path | Bucket, objects: LocalStore | S3Store) -> None:
        self.uri = place.uri if isinstance(place, Bucket) else str(place)
        self._place = place
        self._objects = objects

    @classmethod
    def open(cls, uri: str | Path, *, create: bool = False) -> Self:
        """Open the store at a local path, `file:///path` or `s3://bucket/prefix`.

        For S3, credentials, region and server (`AWS_ENDPOINT_URL`) come from the `AWS_*` variables.

        Args:
            uri: the place.
            create: create a missing store; otherwise nothing is ever created.

        Raises:
            StorageError: malformed URI, no store there, a file, missing bucket, no credentials, no connection.
        """
        place = parse_uri(str(uri))
        if isinstance(place, Bucket):
            return cls(place, open_bucket(place, create=create))
        return cls(place, open_folder(place, create=create))

    def __reduce__(self) -> tuple[object, ...]:
        return reopen, (self._place,)

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def url(self, path: str) -> str:
        """Absolute path or `s3://` URL of a file.

        Raises:
            ValueError: the path is not one that every disk and server accepts.
        """
        if not SAFE_PATH.fullmatch(path):
            raise ValueError(f"unusable file name in a store: {path!r}")
        return f"{self.uri}/{path}"

    def get(self, path: str) -> bytes:
        """Read a whole file.

        Raises:
            NotFound: there is no such file.
            StorageError: the store does not answer or refuses.
        """
        return answered(self.url(path), lambda: obstore.get(self._objects, path).bytes().to_bytes())

    def reader(self, path: str) -> RangeReader:
        """Open a file for reading in parts.

        Raises:
            NotFound: there is no such file.
            StorageError: the store does not answer or refuses.
        """
        return RangeReader(self._objects, path, self.url(path))

    def put(self, path: str, data: bytes) -> None:
        """Write a whole file, replacing an existing one; it is durable when this returns.

        Raises:
            StorageError: the store does not answer or refuses.
        """
        url = self.url(path)
        if isinstance(self._place, Path):
            write_file(Path(url), data, replace=True)
            return
        with explained(url):
            # One request: a multipart upload that dies leaves hidden parts that cost money.
            obstore.put(self._objects, path, data, use_multipart=False)

    def create(self, path: str, data: bytes) -> None:
        """Write a whole file unless one of this name exists; of several writers exactly one succeeds.

        Raises:
            AlreadyExists: a file of this name exists.
            StorageError: the store does not answer or refuses.
        """
        url = self.url(path)
        if isinstance(self._objects, LocalStore):
            write_file(Path(url), data, replace=False)
            return
        with explained(url):
            create_object(self._objects, path, data)

    def exists(self, path: str) -> bool:
        """Return whether there is such a file.

        Raises:
            StorageError: the store does not answer or refuses.
        """
        try:
            self.size(path)
        except NotFound:
            return False
        return True

    def size(self, path: str) -> int:
        """Size of a file in bytes.

        Raises:
            NotFound: there is no such file.
            StorageError: the store does not answer or refuses.
        """
        return answered(self.url(path), lambda: obstore.head(self._objects, path)["size"])

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths of all files under a folder, in any order, without unfinished files.

        Raises:
            StorageError: the store does not answer or refuses.
        """
        return (file.path for file in self.listed(prefix))

    def sizes(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Yield path and size in bytes of all files that `list` yields.

        Raises:
            StorageError: the store does not answer or refuses.
        """
        return ((file.path, file.bytes) for file in self.listed(prefix))

    def listed(self, prefix: str = "") -> Iterator[Listed]:
        """Yield all files that `list` yields with their sizes and times.

        Raises:
            StorageError: the store does not answer or refuses.
        """
        return list_objects(self._objects, self.url(prefix) if prefix else self.uri, prefix)

    def leftovers(self, min_age_seconds: float) -> Iterator[tuple[Path, int]]:
        """Yield place and size in bytes of the files that `remove_leftovers` removes.

        Raises:
            StorageError: the disk refuses.
        """
        return leftovers(self._place, min_age_seconds) if isinstance(self._place, Path) else iter(())

    def remove_leftovers(self, min_age_seconds: float = LEFTOVER_SECONDS) -> int:
        """Remove the unfinished files of killed writers; return their number. Buckets have none.

        Args:
            min_age_seconds: age from which a file is left over; a writer that lives is at work on a younger one.

        Raises:
            StorageError: the disk refuses.
        """
        return remove_leftovers(self._place, min_age_seconds) if isinstance(self._place, Path) else 0

    def delete(self, path: str) -> None:
        """Remove a file; a missing file is not an error.

        Raises:
            StorageError: the store does not answer or refuses.
        """
        try:
            with explained(self.url(path)):
                again(lambda: obstore.delete(self._objects, path))
        except NotFound:
            return

    def settle(self, folders: Iterable[str]) -> None:
        """Make deletions in these folders durable; in a bucket they are.

        Raises:
            StorageError: the disk refuses.
        """
        if isinstance(self._place, Path):
            for url in map(self.url, folders):
                with explained(url), suppress(FileNotFoundError):
                    sync_folder(Path(url))


def reopen(place: Path | Bucket) -> Store:
    """Reopen the store at a place that was open before, without a request to the server.

    Raises:
        StorageError: the local folder is missing or not accessible.
    """
    if isinstance(place, Bucket):
        return Store(place, connect(place))
    return Store(place, open_folder(place, create=False))
