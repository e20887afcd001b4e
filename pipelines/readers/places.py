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
from io import BufferedReader
from typing import Any, cast

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from pipelines.errors import UserError

_LOCAL = LocalFileSystem()

SPECIAL = "a pipe, socket or device, not a file"
"""How rejects call what must not be opened, because it may never end."""


class AbsentFileError(UserError):
    """There is no such file, or something that is no file is in its place."""


@dataclass(frozen=True, order=True)
class Entry:
    """One file of a folder listing.

    Attributes:
        name: path relative to the listed folder, with `/`.
        size: bytes; None where the file cannot be reached (a dangling link).
        special: a pipe, socket or device, which must not be opened.
    """

    name: str
    size: int | None
    special: bool = False


@dataclass(frozen=True)
class Place:
    """A file or folder of some fsspec file system.

    Attributes:
        fs: the file system.
        path: the path as the file system spells it; absolute on a local disk.
    """

    fs: AbstractFileSystem
    path: str

    @classmethod
    def of(cls, uri: str) -> "Place":
        """The place of a path or URL; a relative path starts at the working directory.

        Raises:
            UserError: for a URL whose protocol is unknown or whose store cannot be set up.
        """
        if "://" not in uri:
            # Not through url_to_fs: a plain path may hold `::`, which fsspec takes for a chain of URLs.
            return cls(_LOCAL, posixpath.abspath(uri))
        with reading(uri):
            fs, path = cast("tuple[AbstractFileSystem, str]", url_to_fs(uri))
        return cls(fs, path)

    @property
    def local(self) -> bool:
        """Whether the place is on this machine's disk."""
        return isinstance(self.fs, LocalFileSystem)

    @property
    def uri(self) -> str:
        """Absolute path on a local disk, full URL elsewhere."""
        return self.path if self.local else self.fs.unstrip_protocol(self.path)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return posixpath.basename(self.path.rstrip("/"))

    @property
    def parent(self) -> "Place":
        """The folder that holds the place."""
        return Place(self.fs, posixpath.dirname(self.path.rstrip("/")))

    def join(self, path: str) -> "Place":
        """What `path`, as written in a file of this folder, means: a URL, an absolute or a relative path."""
        if "://" in path or path.startswith("/"):
            return Place.of(path)
        return Place(self.fs, posixpath.normpath(posixpath.join(self.path, path)))

    def child(self, name: str) -> "Place":
        """The file or folder of that name in a listing of this folder."""
        return Place(self.fs, f"{self.path.rstrip('/')}/{name}")

    def is_folder(self) -> bool:
        """Whether the place is a folder (or a prefix with files below it)."""
        with reading(self.uri):
            return bool(self.fs.isdir(self.path))

    def size(self) -> int | None:
        """Bytes of a local file; None where it is absent or asking would cost a request."""
        if not self.local:
            return None
        try:
            return os.stat(self.path).st_size  # noqa: PTH116
        except (OSError, ValueError):
            return None

    def file_size(self) -> int:
        """Bytes of the file, wherever it is.

        Raises:
            UserError: where there is no such file.
        """
        with reading(self.uri):
            return int(self.fs.size(self.path) or 0)

    def version(self) -> tuple[int, int] | None:
        """Bytes and time of change of a local file, to notice that it was replaced; None elsewhere."""
        if not self.local:
            return None
        status = os.stat(self.path)  # noqa: PTH116
        return status.st_size, status.st_mtime_ns

    def check_regular(self) -> None:
        """See that opening the place cannot hang, which pipes do for ever.

        Raises:
            AbsentFileError: where a local path leads to a pipe, socket, device or folder.
            OSError: where a local path leads nowhere.
        """
        if not self.local:
            return
        mode = os.stat(self.path).st_mode  # noqa: PTH116
        if not stat.S_ISREG(mode):
            raise AbsentFileError(f"{self.uri}: {'a folder, not a file' if stat.S_ISDIR(mode) else SPECIAL}")

    @contextmanager
    def open(self) -> Generator[BufferedReader]:
        """The file's bytes, buffered.

        Raises:
            AbsentFileError: where there is no such file, or a pipe, socket or device.
            UserError: where it cannot be read.
        """
        with reading(self.uri):
            self.check_regular()
            file = cast(Any, self.fs.open(self.path, "rb"))
        with file, BufferedReader(file, buffer_size=1 << 20) as buffered:
            yield buffered

    def files(self) -> list[Entry]:
        """Every file below the folder that is not hidden, sorted by name; links to folders are followed.

        Raises:
            UserError: where there is no readable folder.
        """
        if not self.is_folder():
            raise UserError(f"{self.uri}: no such folder (a relative path is relative to the config file)")
        with reading(self.uri):
            entries = _walk(self.path, "", ()) if self.local else self._find()
            return sorted(entry for entry in entries if not _hidden(entry.name))

    def _find(self) -> Iterator[Entry]:
        self.fs.invalidate_cache()
        found = cast("dict[str, dict[str, Any]]", self.fs.find(self.path, detail=True))
        prefix = self.path.rstrip("/") + "/"
        for path, info in found.items():
            if info["type"] == "file" and not path.endswith("/"):
                yield Entry(path.removeprefix(prefix), info["size"])


@contextmanager
def reading(uri: str) -> Generator[None]:
    """Turn what goes wrong with a file system into a `UserError` that names the source."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise AbsentFileError(f"{uri}: no such file (a relative path is relative to the config file)") from error
    except Exception as error:  # the clients behind fsspec share no base class
        raise UserError(f"{uri}: cannot be read: {type(error).__name__}: {error}") from error


def _walk(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[Entry]:
    """The files below a local folder, dangling links included; a link back to a folder above is not followed.

    fsspec's own walk follows such loops until the system refuses.
    """
    status = os.stat(folder)  # noqa: PTH116
    if (status.st_dev, status.st_ino) in above:
        return
    above = (*above, (status.st_dev, status.st_ino))
    with os.scandir(folder) as children:
        for child in children:
            name = prefix + child.name
            if child.is_dir():
                if not child.name.startswith("."):
                    yield from _walk(child.path, name + "/", above)
            else:
                yield _entry(child, name)


def _entry(child: "os.DirEntry[str]", name: str) -> Entry:
    try:
        status = child.stat()
    except OSError:
        return Entry(name, None)
    return Entry(name, status.st_size, special=not stat.S_ISREG(status.st_mode))


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
