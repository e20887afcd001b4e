"""Durable, atomic files on a local disk.

obstore's local writer renames (or links) a finished temporary file into place but never calls fsync, so a power loss
could leave a receipt without its data. This module syncs files and folders.
"""

import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from obstore.store import LocalStore

from storage.errors import AlreadyExists, StorageError

LEFTOVER_SECONDS = 24 * 3600
"""Age of the unfinished file of a killed writer; no writer is at work on one file for a day."""
FOLDERS = (
    "approvals",
    "artifacts",
    "builds",
    "data",
    "failures",
    "labels",
    "lists",
    "manifests",
    "reports",
    "running",
    "runs",
    "training",
)
"""Folders of a store; other folders beside them are not the store's."""
_PROBE = ".echox-probe#"
_TEMPORARY = re.compile(r".+\.(html|json|jsonl|model|parquet|safetensors|txt)#\d{1,20}")


def open_folder(folder: Path, *, create: bool) -> LocalStore:
    """Open a store in `folder` for reading.

    Raises:
        StorageError: the folder is missing (unless `create`), is a file, or is not accessible.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise StorageError(f"{folder} is a file, not a store; name the folder that holds the store")
        if create:
            check_folder(next(place for place in (folder, *folder.parents) if place.is_dir()))
            make_folders(folder)
        elif not folder.is_dir():
            raise StorageError(f"no store at {folder}; build one with `echox build`")
    except OSError as error:
        raise StorageError(f"cannot open the store {folder}: {error.strerror}") from error
    return LocalStore(folder)


def write_file(path: Path, data: bytes, *, replace: bool) -> None:
    """Write a whole file atomically; it survives a power loss once this returns.

    A killed writer leaves a file named `<name>#<digits>` behind, which listings of the store do not show.

    Raises:
        AlreadyExists: the file exists and `replace` is false.
        StorageError: the disk refuses (full, read-only, no permission).
    """
    write_parts(path, [data], replace=replace)


def write_parts(path: Path, parts: Iterable[bytes | memoryview], *, replace: bool) -> None:
    """Write a file as `write_file` does, from parts of which one at a time is in memory.

    Raises:
        AlreadyExists, StorageError: as `write_file`.
    """
    temporary = path.with_name(f"{path.name}#{secrets.randbits(64)}")
    try:
        make_folders(path.parent)
        try:
            _write_synced(temporary, parts)
            if replace:
                temporary.replace(path)
            else:
                _link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except FileExistsError as error:
        raise AlreadyExists(f"{path} is there already") from error
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def remove_leftovers(store: Path, min_age_seconds: float) -> int:
    """Remove the unfinished files of killed writers that are old enough; return their number.

    Raises:
        StorageError: the disk refuses.
    """
    removed = 0
    for path, _ in leftovers(store, min_age_seconds):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove an unfinished file in {store}: {error.strerror}") from error
        removed += 1
    return removed


def leftovers(store: Path, min_age_seconds: float) -> Iterator[tuple[Path, int]]:
    """Yield path and size in bytes of the unfinished files of killed writers that are old enough.

    Raises:
        StorageError: the disk refuses.
    """
    youngest = time.time() - min_age_seconds
    for path in _unfinished(store):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue  # another build removes them at the same time
        except OSError as error:
            raise StorageError(f"cannot look at {path}: {error.strerror}") from error
        if found.st_mtime <= youngest:
            yield path, found.st_size


def _unfinished(store: Path) -> Iterator[Path]:
    """Yield the files whose names only `write_file` and `check_folder` give."""
    yield from store.glob(f"{_PROBE}*")
    for folder in FOLDERS:
        for place, _, names in os.walk(store / folder):
            yield from (Path(place, name) for name in names if _TEMPORARY.fullmatch(name))


def make_folders(folder: Path) -> None:
    """Create a folder and its missing parents, durably."""
    if not folder.is_dir():
        make_folders(folder.parent)
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                raise NotADirectoryError(20, "a file stands where a folder must be", str(folder)) from None
        sync_folder(folder.parent)


def check_folder(folder: Path) -> None:
    """Refuse a folder on a file system without hard links, or whose folders cannot be synced.

    Without hard links, a version could not be put under a free number by exactly one of two builds. Without synced
    folders, a power loss could lose a version whose commit was reported.

    Raises:
        StorageError: the file system lacks one of them; the message names the remedy.
        OSError: the folder cannot be written.
    """
    probe = folder / f"{_PROBE}{secrets.randbits(64)}"
    linked = probe.with_name(f"{probe.name}.link")
    try:
        probe.touch(exist_ok=False)
        for what, attempt in (("hard links", lambda: os.link(probe, linked)), ("fsync", lambda: sync_folder(folder))):
            try:
                attempt()
            except OSError as error:
                raise StorageError(
                    f"{folder}: its file system has no {what} ({error.strerror}), which a store needs; choose a "
                    "folder on a local disk or on NFS, or s3://bucket/prefix"
                ) from error
    finally:
        linked.unlink(missing_ok=True)
        probe.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_synced(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    with path.open("xb", buffering=0) as file:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[file.write(view) :]
        os.fsync(file.fileno())


def _link(temporary: Path, path: Path) -> None:
    """Give the finished file its name unless another file has it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        # A network file system may have created the link and lost the answer.
        if not temporary.samefile(path):
            raise
