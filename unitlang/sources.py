"""Opening encoded audio from a path, a URL or memory as one kind of file object."""

from collections.abc import Callable
from io import SEEK_END, SEEK_SET, BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]

from unitlang.errors import AudioError

AudioSource = str | Path | bytes
"""A path, an fsspec URL (`s3://bucket/x.flac`, `memory://...`) or the encoded bytes themselves."""


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
        OSError: a remote file system failed, which says nothing about the file.
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
        if not Path(path).is_file():  # pipes and devices may never end
            raise AudioError("missing", "there is no such file", str(path))
        return EncodedFile(Path(path).open("rb"))
    except OSError as error:
        raise AudioError("missing", f"it cannot be opened: {error.strerror}", str(path)) from error


def _open_url(url: str) -> EncodedFile:
    open_url = cast("Callable[[str, str], Any]", fsspec.open)  # pyright: ignore[reportUnknownMemberType]
    try:
        return EncodedFile(open_url(url, "rb").open())
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise AudioError("missing", f"it cannot be opened: {error}", url) from error
    except (ValueError, ImportError) as error:
        raise AudioError("missing", f"no file system for this address: {error}", url) from error
