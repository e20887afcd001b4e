"""Listings of S3 buckets: page by page, and several ranges of names side by side."""
# fsspec has no type stubs.
# pyright: reportMissingTypeStubs=false

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, pairwise
from typing import Any, NamedTuple, cast

from fsspec.spec import AbstractFileSystem

from pipelines.reading import read_ahead

RANGES = 64
"""Ranges of names that are listed side by side, at most."""
DEPTH = 3
"""Levels of folders whose names are looked at to find the ranges."""
UNSORTED = "--x-s3"
"""End of the names of buckets whose listings are not in the order of the names."""


class Object(NamedTuple):
    """An object of a bucket: its key, size in bytes, and its ETag."""

    key: str
    size: int
    etag: str | None


def is_listed_in_ranges(fs: AbstractFileSystem, path: str) -> bool:
    """Whether `list_objects` can list a path of this file system."""
    return "s3" in fs.protocol and not path.partition("/")[0].endswith(UNSORTED)


def list_objects(fs: AbstractFileSystem, path: str) -> Iterator[Object]:
    """Yield the objects below a folder in the order of their keys, without those that only stand for a folder.

    A page has up to 1,000 objects. Folders divide the names into ranges, which are listed side by side.

    Args:
        fs: an s3fs file system.
        path: `BUCKET/FOLDER`.

    Raises:
        OSError: the server does not answer or refuses.
    """
    bucket, _, folder = path.rstrip("/").partition("/")
    prefix = f"{folder}/" if folder else ""
    first = _page(fs, bucket, Prefix=prefix, Delimiter="/")
    folders = _folders(first)
    if not folders and not first.get("IsTruncated"):
        return iter(_objects(first))
    starts = ["", *_starts(fs, bucket, folders), None]
    jobs = (partial(_range, fs, bucket, prefix, str(start), end) for start, end in pairwise(starts))
    return chain.from_iterable(read_ahead(jobs))


def _starts(fs: AbstractFileSystem, bucket: str, folders: Sequence[str]) -> list[str]:
    """Names that divide the folders, and those in them, into ranges."""
    found, level = [*folders], [*folders]
    for _ in range(DEPTH - 1):
        if not level or len(found) >= RANGES:
            break
        pages = read_ahead(partial(_page, fs, bucket, Prefix=folder, Delimiter="/") for folder in level)
        level = [folder for page in pages for folder in _folders(page)]
        found += level
    found.sort()
    return found[:: -(-len(found) // RANGES)] if found else []


def _range(fs: AbstractFileSystem, bucket: str, prefix: str, start: str, end: str | None) -> list[Object]:
    """The objects whose keys lie between two names."""
    found: list[Object] = []
    after: dict[str, str] = {"StartAfter": start} if start else {}
    while True:
        page = _page(fs, bucket, Prefix=prefix, **after)
        found += (one for one in _objects(page) if one.key > start and (end is None or one.key < end))
        if not page.get("IsTruncated") or (end is not None and page["Contents"][-1]["Key"] >= end):
            return found
        after = {"ContinuationToken": page["NextContinuationToken"]}


def _page(fs: AbstractFileSystem, bucket: str, **what: str) -> dict[str, Any]:
    s3 = cast(Any, fs)
    return s3.call_s3("list_objects_v2", Bucket=bucket, **what, **s3.req_kw)


def _folders(page: dict[str, Any]) -> list[str]:
    return [found["Prefix"] for found in page.get("CommonPrefixes", ())]


def _objects(page: dict[str, Any]) -> list[Object]:
    files = (found for found in page.get("Contents", ()) if not found["Key"].endswith("/"))
    etags = ((found, found.get("ETag")) for found in files)
    return [Object(found["Key"], found["Size"], etag and etag.strip('"')) for found, etag in etags]
