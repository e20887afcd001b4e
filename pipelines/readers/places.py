"""Files and folders of sources, on a disk or in a bucket, through fsspec."""
# fsspec has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import os
import posixpath
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from operator import attrgetter
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import quote, urlsplit

from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from pipelines.buckets import is_listed_in_ranges, list_objects
from pipelines.errors import UserError
from unitlang.audio.remote import file_system, is_http, remote
from unitlang.errors import AudioError, Unreachable
from unitlang.urls import redacted

_LOCAL = LocalFileSystem()
_IN_NAMES = "/%!$&'()*+,;=:@~[]"
"""Characters of a relative path that a URL holds as they are; `%` because many manifests hold quoted names."""

STAMPS = ("ETag", "etag", "Last-Modified", "LastModified", "last_modified", "updated", "mtime", "modified", "created")
"""Names in listings, the best first, of what changes when a file is written."""

LEADS_OUT = "a link that leads out of the source's folder is not read; put the file itself there"
"""Description in rejects of links that a foreign corpus may have made to any file of this machine."""
SPECIAL = "a pipe, socket or device, not a file"
"""Description in rejects of files that must not be opened, because reading them may never end."""


class AbsentFileError(UserError):
    """There is no such file, or the path is not a regular file."""


class LedOutError(UserError):
    """The server of a confined source leads to another one."""


class Entry(NamedTuple):
    """One file of a folder listing; a bucket has millions, so it is no dataclass, which takes three times as long.

    Attributes:
        name: path relative to the listed folder, with `/`.
        size: bytes; None if the file cannot be reached (a dangling link), or the listing of a web server has none.
        special: a pipe, socket or device, which must not be opened.
        linked: it, or a folder between it and the listed one, is a link.
        stamp: as `stamp_of` of a listing of a bucket; None elsewhere.
    """

    name: str
    size: int | None
    special: bool = False
    linked: bool = False
    stamp: str | None = None


@dataclass(frozen=True)
class Place:
    """A file or folder of an fsspec file system.

    Attributes:
        fs: the file system.
        path: the path in the file system's notation; absolute on a local disk.
    """

    fs: AbstractFileSystem
    path: str

    @classmethod
    def of(cls, uri: str) -> "Place":
        """Return the place of a path or URL; a relative path starts at the working directory.

        Raises:
            UserError: no file system understands the URL.
            Unreachable: its server does not answer.
        """
        if "://" not in uri:
            # Not through url_to_fs: a plain path may contain `::`, which fsspec parses as a chain of URLs.
            return cls(_LOCAL, posixpath.abspath(uri))
        with reading(uri):
            fs, path = file_system(uri)
        return cls(fs, path)

    @property
    def local(self) -> bool:
        """True if the place is on this machine's disk."""
        return isinstance(self.fs, LocalFileSystem)

    @property
    def uri(self) -> str:
        """Absolute path on a local disk, full URL elsewhere."""
        return self.path if self.local else self.fs.unstrip_protocol(self.path)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return posixpath.basename(self._folder_path().rstrip("/"))

    @property
    def parent(self) -> "Place":
        """The folder of the place."""
        return Place(self.fs, posixpath.dirname(self._folder_path().rstrip("/")))

    def join(self, path: str) -> "Place":
        """Resolve a path that is written in a file of this folder: a URL, an absolute or a relative path.

        Raises:
            UserError: as `of`.
        """
        if "://" in path or path.startswith("/"):
            return Place.of(path)
        if not is_http(self.path):
            return Place(self.fs, posixpath.normpath(posixpath.join(self.path, path)))
        parts = urlsplit(self.path)
        # In a name `?` and `#` are letters like others; in a URL they would end the path.
        below = posixpath.normpath(posixpath.join(parts.path or "/", quote(path, safe=_IN_NAMES)))
        return Place(self.fs, f"{parts.scheme}://{parts.netloc}{below}")

    def child(self, name: str) -> "Place":
        """Return the file or folder of that name in this folder."""
        return Place(self.fs, f"{self._folder_path().rstrip('/')}/{name}")

    @cached_property
    def start(self) -> str:
        """The URIs of the files in this folder up to their names."""
        return self.child("").uri

    def _folder_path(self) -> str:
        """The path, without the query of an HTTP URL."""
        return self.path.partition("?")[0] if is_http(self.path) else self.path

    def is_folder(self) -> bool:
        """Return whether the place is a folder (or a prefix with files below it).

        Raises:
            UserError: the file system fails.
        """
        with reading(self.uri):
            return bool(self.fs.isdir(self.path))

    def size(self) -> int | None:
        """Size of a local file in bytes; None if it is missing or a request would be needed."""
        if not self.local:
            return None
        try:
            return os.stat(self.path).st_size  # noqa: PTH116
        except (OSError, ValueError):
            return None

    def file_facts(self) -> tuple[int, str | None]:
        """Size of the file in bytes, on any file system, and its stamp, as `Entry`.

        Raises:
            UserError: there is no such file.
        """
        with reading(self.uri):
            info = cast("dict[str, Any]", self.fs.info(self.path))
            return int(info["size"] or 0), None if self.local else stamp_of(info)

    def version(self) -> tuple[int, int] | None:
        """Size and modification time of a local file, which change when it is replaced; None elsewhere."""
        if not self.local:
            return None
        status = os.stat(self.path)  # noqa: PTH116
        return status.st_size, status.st_mtime_ns

    def check_regular(self) -> None:
        """Check that opening the place cannot hang, as pipes do.

        Raises:
            AbsentFileError: a local path is a pipe, socket, device or folder.
            OSError: a local path does not exist.
        """
        if not self.local:
            return
        mode = os.stat(self.path).st_mode  # noqa: PTH116
        if not stat.S_ISREG(mode):
            raise AbsentFileError(f"{self.uri}: {'a folder, not a file' if stat.S_ISDIR(mode) else SPECIAL}")

    @contextmanager
    def open(self) -> Generator[BufferedReader]:
        """Open the file's bytes, buffered.

        Raises:
            AbsentFileError: there is no such file, or it is a pipe, socket or device.
            UserError: it cannot be read.
        """
        with reading(self.uri):
            file = cast(Any, self.raw())
        with file, BufferedReader(file, buffer_size=1 << 20) as buffered, remote(self.uri):
            yield buffered

    def whole(self) -> bytes:
        """The file's bytes, by one request.

        Raises:
            AbsentFileError: there is no such file.
            UserError: it cannot be read.
        """
        with reading(self.uri):
            return cast(bytes, self.fs.cat_file(self.path))

    def raw(self) -> BinaryIO:
        """Open the file's bytes, as its file system does.

        Raises:
            Unreachable: the server does not answer.
            Exception: any error of the file system.
        """
        self.check_regular()
        with remote(self.uri):
            return cast(BinaryIO, self.fs.open(self.path, "rb"))

    def files(self) -> list[Entry]:
        """List every file below the folder that is not hidden, sorted by name; links to folders are followed.

        Raises:
            UserError: there is no readable folder.
        """
        if not self.is_folder():
            raise UserError(f"{redacted(self.uri)}: no such folder (a relative path is relative to the config file)")
        with reading(self.uri):
            entries = _walk(self.path, "", (), linked=False) if self.local else self._find()
            return sorted((entry for entry in entries if not _hidden(entry.name)), key=attrgetter("name"))

    def leads_out(self, entry: Entry, *, folders: bool) -> bool:
        """Whether a listed file of this folder lies elsewhere, because of a link.

        Args:
            entry: the file.
            folders: count links of folders too; otherwise a folder that is linked here belongs to this one.
        """
        if not entry.linked or not self.local:
            return False
        path = posixpath.join(self.path, entry.name)
        homes = [self.path] if folders else [self.path, posixpath.dirname(path)]
        real = os.path.realpath(path)
        return not any(real.startswith(os.path.realpath(home).rstrip("/") + "/") for home in homes)

    def _find(self) -> Iterator[Entry]:
        self.fs.invalidate_cache()  # which may know files of before, and not those of now
        if is_listed_in_ranges(self.fs, self.path):
            start = self.path.rstrip("/").partition("/")[2]
            found = list_objects(self.fs, self.path)
            return (Entry(key[len(start) :].lstrip("/"), size, stamp=etag) for key, size, etag in found)
        return self._find_any()

    def _find_any(self) -> Iterator[Entry]:
        found = cast("dict[str, dict[str, Any]]", self.fs.find(self.path, detail=True))
        prefix = self.path.rstrip("/") + "/"
        for path, info in found.items():
            if info["type"] == "file" and not path.endswith("/"):
                yield Entry(path.removeprefix(prefix), info["size"], stamp=stamp_of(info))


def stamp_of(info: dict[str, Any]) -> str | None:
    """A server's mark of the contents of a file, besides their size: the ETag, or the time of writing."""
    found = next((info[name] for name in STAMPS if info.get(name)), None)
    return None if found is None else str(found).strip('"')


@contextmanager
def reading(uri: str) -> Generator[None]:
    """Turn the errors of a file system into a `UserError` that names the source.

    Raises:
        AbsentFileError: there is no such file.
        LedOutError: the server leads elsewhere, and its source is confined.
        Unreachable: the server does not answer.
        UserError: any other error.
    """
    try:
        with remote(uri):
            yield
    except (UserError, Unreachable):
        raise
    except FileNotFoundError as error:
        hint = "" if "://" in uri else " (a relative path is relative to the config file)"
        raise AbsentFileError(f"{redacted(uri)}: no such file{hint}") from error
    except AudioError as error:
        raise LedOutError(f"{redacted(uri)}: {error.message}") from error
    except Exception as error:  # the clients behind fsspec share no base class
        raise UserError(f"{redacted(uri)}: cannot be read: {redacted(f'{type(error).__name__}: {error}')}") from error


def _walk(folder: str, prefix: str, above: tuple[tuple[int, int], ...], *, linked: bool) -> Iterator[Entry]:
    """Yield the files below a local folder, including dangling links; links back to a parent folder are not followed.

    fsspec's own walk follows such loops until the system refuses.
    """
    status = os.stat(folder)  # noqa: PTH116
    if (status.st_dev, status.st_ino) in above:
        return
    above = (*above, (status.st_dev, status.st_ino))
    with os.scandir(folder) as children:
        for child in children:
            name, is_linked = prefix + child.name, linked or child.is_symlink()
            if _is_folder(child):
                if not child.name.startswith("."):
                    yield from _walk(child.path, name + "/", above, linked=is_linked)
            else:
                yield _entry(child, name, linked=is_linked)


def _is_folder(child: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder, or a link to one; no for links that lead nowhere or in a circle."""
    try:
        return child.is_dir()
    except OSError:
        return False


def _entry(child: "os.DirEntry[str]", name: str, *, linked: bool) -> Entry:
    try:
        status = child.stat()
    except OSError:
        return Entry(name, None, linked=linked)
    return Entry(name, status.st_size, special=not stat.S_ISREG(status.st_mode), linked=linked)


def _hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name
