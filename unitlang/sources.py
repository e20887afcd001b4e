"""Opening encoded audio from a path, a URL or memory as one kind of file object."""

import stat
from errno import EACCES, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM
from io import SEEK_END, SEEK_SET, BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from fsspec.core import url_to_fs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from fsspec.implementations.local import LocalFileSystem  # pyright: ignore[reportMissingTypeStubs]

from unitlang.errors import AudioError

AudioSource = str | Path | bytes
"""A path, an fsspec URL (`s3://bucket/x.flac`, `memory://...`) or the encoded bytes themselves."""

PATH_FAULTS = frozenset({ENOENT, ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG, EACCES, EPERM})
"""What the system says of a path with which no file can be opened, now or later; all else (EIO, ESTALE, EMFILE) is a
failure of the machine or of the disk, and trying again may help."""


class EncodedFile:
    """A seekable file without a name: given one, FFmpeg would believe its extension before its content.

    Attributes:
        size: bytes of the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, SEEK_END)
        file.seek(0)

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        return self._file.read(size)

    def seek(self, position: int, whence: int = SEEK_SET, /) -> int:
        """Goes to a byte position."""
        return self._file.seek(position, whence)

    def tell(self) -> int:
        """The byte position."""
        return self._file.tell()

    def close(self) -> None:
        """Closes the file beneath."""
        self._file.close()


def source_name(source: AudioSource) -> str:
    """How errors call the source."""
    return "<bytes>" if isinstance(source, bytes) else str(source)


def open_source(source: AudioSource) -> EncodedFile:
    """Opens the source, at its start.

    Raises:
        AudioError: `missing` (no such file, a dangling link, no regular file, not readable) or `empty_file`.
        OSError: the disk or a remote file system failed, which says nothing about the file: a broken connection, an
            expired token, too many open files.
    """
    if isinstance(source, bytes):
        file = EncodedFile(BytesIO(source))
    else:
        file = _open_url(source) if isinstance(source, str) and "://" in source else _open_path(source)
    if file.size == 0:
        file.close()
        raise AudioError("empty_file", "the file has 0 bytes", source_name(source))
    return file


def _open_path(path: str | Path) -> EncodedFile:
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # pipes and devices may never end
            raise AudioError("missing", "there is a folder, pipe or device, no file", str(path))
        return EncodedFile(Path(path).open("rb"))
    except OSError as error:
        if error.errno not in PATH_FAULTS:
            raise
        raise AudioError("missing", f"it cannot be opened: {error.strerror}", str(path)) from error
    except ValueError as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError("missing", f"this is no path: {error}", str(path)) from error


def _open_url(url: str) -> EncodedFile:
    try:
        place, path = cast("tuple[Any, str]", url_to_fs(url))
    except (ValueError, ImportError) as error:
        raise AudioError("missing", f"no file system for this address: {error}", url) from error
    if isinstance(place, LocalFileSystem):
        return _open_path(path)
    try:
        return EncodedFile(place.open(path, "rb"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
        raise AudioError("missing", f"it cannot be opened: {error}", url) from error
