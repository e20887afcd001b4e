"""Open encoded audio from a path, a URL or memory as one kind of file object."""

import stat
from collections.abc import Callable, Mapping
from errno import EACCES, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar, cast

from fsspec.implementations.local import LocalFileSystem  # pyright: ignore[reportMissingTypeStubs]

from unitlang.audio.remote import ABSENT, file_system, remote
from unitlang.errors import AudioError
from unitlang.interrupts import Carried, patient_signals, uninterrupted
from unitlang.urls import redacted

AudioSource = str | Path | bytes
"""A path, an fsspec URL (`s3://bucket/x.flac`, `memory://...`) or the encoded bytes."""

PATH_FAULTS = frozenset({ENOENT, ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG, EACCES, EPERM})
"""Error numbers of paths that cannot be opened now or later.

All others (EIO, ESTALE, EMFILE) are failures of the machine or the disk, and a retry may help.
"""


P = ParamSpec("P")
T = TypeVar("T")


class EncodedFile:
    """A seekable file without a name: with one, FFmpeg would trust its extension more than its content.

    FFmpeg calls the methods of `file` directly. Methods written in C (`open`, BytesIO) run no bytecode, so no signal
    handler can raise in them; PyAV would drop that exception. For other files see `PythonFile`.

    Attributes:
        size: bytes of the file.
        read: returns up to so many bytes; none at the end.
        seek: moves to a byte position.
        tell: returns the byte position.
        close: closes the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.size = file.seek(0, SEEK_END)
        file.seek(0)
        self.read: Callable[[int], bytes] = file.read
        self.seek: Callable[..., int] = file.seek
        self.tell: Callable[[], int] = file.tell
        self.close: Callable[[], None] = file.close


class PythonFile(EncodedFile):
    """A file whose methods run Python code, like all fsspec files."""

    def __init__(self, file: BinaryIO, url: str) -> None:
        with remote(url):
            super().__init__(file)
        self.read = _carrying(file.read, url)
        self.seek = _carrying(file.seek, url)


class Restated(EncodedFile):
    """A file of which some bytes read otherwise.

    Attributes:
        original: the file as it is; both have one position.
    """

    def __init__(self, file: EncodedFile, patches: Mapping[int, bytes]) -> None:
        self.original, self.size = file, file.size
        self._patches = patches
        self.read = _carrying(self._read, "")
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def _read(self, size: int) -> bytes:
        start = self.original.tell()
        data = bytearray(self.original.read(size))
        for at, patch in self._patches.items():
            first, last = max(at, start), min(at + len(patch), start + len(data))
            if first < last:
                data[first - start : last - start] = patch[first - at : last - at]
        return bytes(data)


def _carrying(call: Callable[P, T], url: str) -> Callable[P, T]:
    """Wrap `call`: exceptions that PyAV would drop become the cause of a `Carried`.

    One of them is the CancelledError of a remote file's event loop.
    """

    def called(*args: P.args, **named: P.kwargs) -> T:
        try:
            with remote(url):
                return call(*args, **named)
        except Exception:
            raise
        except BaseException as error:
            raise Carried from error

    return called


def source_name(source: AudioSource) -> str:
    """Name of the source in error messages."""
    return "<bytes>" if isinstance(source, bytes) else redacted(str(source))


def open_source(source: AudioSource) -> EncodedFile:
    """Open the source at its start.

    Raises:
        AudioError: `missing` (no such file, a dangling link, not a regular file, not readable, not a URL) or
            `empty_file`.
        Unreachable: the server of a URL failed, even after retries. The file itself may be fine, and so it may if
        OSError: the disk failed, or too many files are open.
    """
    if isinstance(source, bytes):
        file = EncodedFile(BytesIO(source))
    else:
        file = _open_url(str(source)) if _is_url(source) else _open_path(source)
    if file.size == 0:
        file.close()
        raise AudioError("empty_file", "the file has 0 bytes", source_name(source))
    return file


def reading(source: AudioSource, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Run a call that makes FFmpeg read the source, protected from signals (see `unitlang.interrupts`)."""
    if not _is_url(source):
        return uninterrupted(call, *args, **named)
    with patient_signals():
        return uninterrupted(call, *args, **named)


def _is_url(source: AudioSource) -> bool:
    return isinstance(source, str) and "://" in source


def _open_path(path: str | Path) -> EncodedFile:
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # pipes and devices may never end
            raise AudioError("missing", "this is a folder, pipe or device, not a file", str(path))
        return EncodedFile(Path(path).open("rb"))
    except OSError as error:
        if error.errno not in PATH_FAULTS:
            raise
        raise AudioError("missing", f"it cannot be opened: {error.strerror}", str(path)) from error
    except ValueError as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError("missing", f"this is not a path: {error}", str(path)) from error


def _open_url(url: str) -> EncodedFile:
    try:
        place, path = file_system(url)
        if isinstance(place, LocalFileSystem):
            return _open_path(path)
        with remote(url):
            return PythonFile(cast(BinaryIO, place.open(path, "rb")), url)
    except AudioError:
        raise
    except Exception as error:  # file systems refuse what they cannot open with errors of any class
        if isinstance(error, OSError) and not isinstance(error, ABSENT):
            raise
        fault = f"it cannot be opened: {type(error).__name__}: {redacted(str(error))}"
        raise AudioError("missing", fault, redacted(url)) from error
