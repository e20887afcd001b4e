"""Parse the place of a store as a person types it: a local folder or a prefix in a bucket."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from storage.errors import StorageError

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
HALF_SCHEME = re.compile(r"(s3|file):(?!//)", re.IGNORECASE)
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
"""3 to 63 letters, digits, dots, hyphens (S3's rule), or capitals and underscores (other servers')."""
VERSIONED = re.compile(r"(.+)@(\d+)", re.DOTALL)


@dataclass(frozen=True)
class Bucket:
    """A prefix in a bucket; an empty prefix is the whole bucket."""

    name: str
    prefix: str

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix`, without a slash at the end."""
        return f"s3://{self.name}/{self.prefix}".rstrip("/")


def parse_uri(uri: str) -> Path | Bucket:
    """Return the absolute folder or the bucket that `uri` names; `~` is the home folder.

    Raises:
        StorageError: it is neither a path, nor file:///path, nor s3://bucket/prefix.
    """
    if not uri.strip() or "\0" in uri:
        raise StorageError(f"{uri!r} names no store; give a folder or s3://bucket/prefix")
    if half := HALF_SCHEME.match(uri):
        raise StorageError(f"malformed store {_told(uri)}: write {half[1].lower()}:// with two slashes")
    scheme = SCHEME.match(uri)
    if scheme is None:
        return Path(os.path.abspath(Path(uri).expanduser()))  # noqa: PTH100 - keeps symbolic links as they are
    match scheme[1].lower():
        case "file":
            return _folder_of(uri)
        case "s3":
            return _bucket_of(uri)
        case other:
            raise StorageError(
                f"cannot store in {other}:// ({_told(uri)}); use a folder, file:///path or s3://bucket/prefix"
            )


def split_version(uri: str) -> tuple[str, int | None]:
    """Split a URI into the store's URI and the version after a trailing `@<digits>`; other `@` belong to the URI."""
    match = VERSIONED.fullmatch(uri)
    return (match[1], int(match[2])) if match else (uri, None)


def _told(uri: str) -> str:
    """A malformed URI for a message; all before the last `@`, where a password may be, is hidden."""
    return repr(re.sub(r":(/*).*@", r":\1***@", uri, flags=re.DOTALL))


def _folder_of(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise StorageError(f"malformed store {_told(uri)}: a local file URL is file:///absolute/path")
    return Path(os.path.abspath(unquote(uri[uri.index("/", len("file://")) :])))  # noqa: PTH100


def _bucket_of(uri: str) -> Bucket:
    name, _, prefix = uri.partition("://")[2].partition("/")
    prefix = prefix.rstrip("/")
    if not BUCKET.fullmatch(name):
        raise StorageError(
            f"malformed store {_told(uri)}: there is no bucket name of 3 to 63 letters; write s3://bucket/prefix"
        )
    if prefix and any(segment in {"", ".", ".."} for segment in prefix.split("/")):
        raise StorageError(f"malformed store {_told(uri)}: the prefix has an empty or a dot segment")
    return Bucket(name, prefix)
