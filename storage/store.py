"""A store: files under a folder or a bucket's prefix, written whole or not at all."""

import re
from collections.abc import Iterator
from pathlib import Path

import obstore
from obstore.store import LocalStore, S3Store

from storage.errors import NotFound
from storage.local import open_folder, write_file
from storage.ranges import RangeReader
from storage.s3 import connect, create_object, explained, list_objects, open_bucket
from storage.uris import Bucket, parse_uri

SAFE_PATH = re.compile(r"(?!\.\.?(/|$))[\w.=+-]+(/(?!\.\.?(/|$))[\w.=+-]+)*", re.ASCII)
"""Names that mean the same on every disk and server."""


class Store:
    """Files of one store, by paths relative to it (`data/units/0a1b.parquet`).

    Open one with `Store.open`. It can be pickled: the copy opens the same place, with the credentials of its
    own environment. Threads may share it. All raise `StorageError` when the disk or the server refuses.

    Attributes:
        uri: absolute path or `s3://bucket/prefix`, without a slash at the end.
    """

    def __init__(self, place: Path | Bucket, objects: LocalStore | S3Store) -> None:
        self.uri = place.uri if isinstance(place, Bucket) else str(place)
        self._place = place
        self._objects = objects

    @classmethod
    def open(cls, uri: str | Path, *, create: bool = False) -> "Store":
        """Open the store at a local path, `file:///path` or `s3://bucket/prefix`.

        For S3, credentials, region and server (`AWS_ENDPOINT_URL`) come from the `AWS_*` variables.

        Args:
            uri: the place.
            create: make an absent store; otherwise nothing is ever made.

        Raises:
            StorageError: malformed URI, no store there, a file, bucket absent, no credentials, no connection.
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
        """Absolute path or `s3://` URL of a file."""
        if not SAFE_PATH.fullmatch(path):
            raise ValueError(f"unusable file name in a store: {path!r}")
        return f"{self.uri}/{path}"

    def get(self, path: str) -> bytes:
        """The whole file.

        Raises:
            NotFound: when there is none.
        """
        with explained(self.url(path)):
            return obstore.get(self._objects, path).bytes().to_bytes()

    def reader(self, path: str) -> RangeReader:
        """The file for reading in parts.

        Raises:
            NotFound: when there is none.
        """
        with explained(self.url(path)):
            return RangeReader(self._objects, path)

    def put(self, path: str, data: bytes) -> None:
        """Write a whole file, over an older one if there is one. When this returns it is durable."""
        url = self.url(path)
        if isinstance(self._place, Path):
            write_file(Path(url), data, replace=True)
            return
        with explained(url):
            # One request: a multipart upload that dies leaves hidden parts that cost money.
            obstore.put(self._objects, path, data, use_multipart=False)

    def create(self, path: str, data: bytes) -> None:
        """Write a whole file if there is none of this name; of several writers exactly one succeeds.

        Raises:
            AlreadyExists: when there is one.
        """
        url = self.url(path)
        if isinstance(self._objects, LocalStore):
            write_file(Path(url), data, replace=False)
            return
        with explained(url):
            create_object(self._objects, path, data)

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        try:
            self.size(path)
        except NotFound:
            return False
        return True

    def size(self, path: str) -> int:
        """Bytes of the file.

        Raises:
            NotFound: when there is none.
        """
        with explained(self.url(path)):
            return obstore.head(self._objects, path)["size"]

    def list(self, prefix: str = "") -> Iterator[str]:
        """Paths of all files under a folder, in no certain order; unfinished files are not shown."""
        with explained(self.url(prefix) if prefix else self.uri):
            yield from list_objects(self._objects, prefix)

    def delete(self, path: str) -> None:
        """Remove a file; no error where there is none."""
        try:
            with explained(self.url(path)):
                obstore.delete(self._objects, path)
        except NotFound:
            return


def reopen(place: Path | Bucket) -> Store:
    """The store at a place that was open before; asks nothing of the server."""
    if isinstance(place, Bucket):
        return Store(place, connect(place))
    return Store(place, open_folder(place, create=False))
