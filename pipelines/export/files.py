"""Files of an export: written whole, with bytes that depend on neither time, user nor machine."""

import io
import os
import tarfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from storage.local import make_folders, sync_folder

STATE = ".export"
"""Folder of an unfinished export: what it is, the receipts of its finished shards, and what is needed until it ends."""
UNFINISHED = ".part"
"""Ends the name of a file that is being written."""


@dataclass(frozen=True)
class ExportedFile:
    """A finished file: path in the export, size, SHA-256."""

    path: str
    bytes: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


@contextmanager
def refusals(folder: Path) -> Generator[None]:
    """Raise the errors of a disk as a UserError that names the file, or else the folder."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {error.filename or folder}: {error.strerror or error}") from error


@contextmanager
def whole_files(folder: Path, paths: Sequence[str]) -> Generator[list[Path]]:
    """Yield places to write files to; they get their names when the block ends without an error, and are durable then.

    Args:
        folder: the export.
        paths: paths of the files in it; the places have the same names, with `UNFINISHED` at their end.
    """
    targets = [folder / path for path in paths]
    for target in targets:
        make_folders(target.parent)
    drafts = [target.with_name(target.name + UNFINISHED) for target in targets]
    yield drafts
    for draft, target in zip(drafts, targets, strict=True):
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(target)
    for parent in {target.parent for target in targets}:
        sync_folder(parent)


def write_text(folder: Path, path: str, text: str) -> str:
    """Write a text file of an export, whole; return its path."""
    with whole_files(folder, [path]) as (draft,):
        draft.write_text(text, "utf-8")
    return path


def exported(folder: Path, path: str) -> ExportedFile:
    """Size and SHA-256 of a finished file."""
    with (folder / path).open("rb") as file:
        return ExportedFile(path, os.fstat(file.fileno()).st_size, file_digest(file, "sha256").hexdigest())


@contextmanager
def tar(path: Path) -> Generator["Tar"]:
    """Open a tar for writing, in the POSIX format, without times and owners."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        yield Tar(archive)


class Tar:
    """A tar that is being written."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def add(self, name: str, data: bytes) -> None:
        """Append a file."""
        member = tarfile.TarInfo(name)  # times and owners are zero
        member.size = len(data)
        self._archive.addfile(member, io.BytesIO(data))
