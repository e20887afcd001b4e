"""Export a corpus version: shard by shard, in threads; a killed export goes on where it was."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from rich.console import Console

from pipelines.engine.progress import Bar, bar
from pipelines.entries.roots import recorded_roots
from pipelines.errors import UserError
from pipelines.export.base import Export, Format, known_formats
from pipelines.export.files import STATE, ExportedFile, exported, refusals, whole_files, write_text
from pipelines.export.kept_audio import KeptAudio
from pipelines.export.plan import Plan, Shard, plan
from pipelines.export.utterances import Utterance, utterances
from pipelines.records import check_made
from storage.local import make_folders
from storage.store import Store
from storage.versions import Version, version_path
from unitlang.ahead import run_in
from unitlang.frames import SAMPLE_RATE
from unitlang.registry import nearest

SUMMARY = "export.json"
"""Written last: the facts of a finished export, and the checksums of its files."""
IDENTITY = f"{STATE}/identity.json"
"""File that says of which version an unfinished export is."""


@dataclass(frozen=True)
class Request:
    """Choices of an export.

    Attributes:
        store: the corpus.
        version: its version.
        folder: where to; new, empty, or an unfinished export of the same.
        format: name of the format.
        shard_hours: audio of a shard at most, in hours.
        threads: shards that are written at the same time; the files do not depend on it.
    """

    store: Store
    version: Version
    folder: Path
    format: str
    shard_hours: float
    threads: int

    def identity(self, chosen: Format) -> dict[str, Any]:
        """Everything that the files depend on, as JSON values."""
        version = self.store.get(version_path(self.version.number))
        return {
            "format": self.format,
            "revision": chosen.revision,
            "version": self.version.number,
            "version_sha256": sha256(version).hexdigest(),
            "shard_hours": self.shard_hours,
        }


class _Stopped(Exception):  # noqa: N818 - no error: it ends the threads after one
    """Another shard failed, or the command was interrupted."""


class _Ticker:
    """Counts audio of all threads, and ends them when the export stops."""

    def __init__(self, shown: Bar) -> None:
        self._bar = shown
        self._lock = Lock()
        self._stopped = False

    def stop(self) -> None:
        """End every thread at its next utterance."""
        self._stopped = True

    def counted(self, items: Iterator[Utterance]) -> Iterator[Utterance]:
        """Yield the utterances, and count each when the next is asked for."""
        for utterance in items:
            yield utterance
            if self._stopped:
                raise _Stopped
            with self._lock:
                self._bar.advance(utterance.facts["num_samples"] / SAMPLE_RATE)


def local_folder(place: str) -> Path:
    """The folder that a person names.

    Raises:
        UserError: it is a URL.
    """
    if "://" in place:
        raise UserError(f"{place}: an export is written to a disk; name a folder, and copy it to a server afterwards")
    return Path(place)


def export(request: Request, console: Console) -> dict[str, Any]:
    """Write a corpus version into a folder, in one of the formats; return the facts of `export.json`.

    Raises:
        UserError: unknown format; a folder with other contents; a disk that refuses; audio that is gone.
        StorageError: the corpus cannot be read.
        AudioError: audio that `quantize` could decode cannot be decoded any more.
    """
    formats = known_formats()
    if request.format not in formats:
        raise UserError(f"--format {request.format}: no such format; {nearest(request.format, formats)}")
    chosen = formats[request.format]()
    chosen.check()
    check_made(request.store, request.version)
    with refusals(request.folder), _claimed(request, chosen):
        shards = plan(request.store, request.version, request.shard_hours)
        files = _write_shards(request, chosen, shards, console)
        finished = Export(request.folder, request.store, request.version, shards, files)
        described = [exported(request.folder, path) for path in chosen.finish(finished)]
        listed = [file for file in [*files, *described] if not file.path.startswith(f"{STATE}/")]
        facts = _facts(request.identity(chosen), shards, listed)
        write_text(request.folder, SUMMARY, json.dumps(facts, indent=1) + "\n")
    shutil.rmtree(request.folder / STATE)
    return facts


def _facts(identity: dict[str, Any], shards: Plan, files: Sequence[ExportedFile]) -> dict[str, Any]:
    return {
        **identity,
        "utterances": sum(shard.utterances for shard in shards.shards),
        "samples": sum(shard.samples for shard in shards.shards),
        "left_out": shards.left_out,
        "files": [file.to_dict() for file in sorted(files, key=lambda file: file.path)],
    }


@contextmanager
def _claimed(request: Request, chosen: Format) -> Generator[None]:
    """Claim the folder for this export; no other one may write into it meanwhile.

    Raises:
        UserError: it holds something else, or another process exports into it.
    """
    identity = json.dumps(request.identity(chosen), indent=1) + "\n"
    _check_folder(request.folder, identity)
    make_folders(request.folder / STATE)
    descriptor = os.open(request.folder / STATE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, request.folder)
        write_text(request.folder, IDENTITY, identity)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{folder}: another process exports into it; wait until it ends") from error


def _check_folder(folder: Path, identity: str) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; name a new folder")
    state = folder / IDENTITY
    if not state.is_file():
        what = "a finished export" if (folder / SUMMARY).is_file() else "other files"
        raise UserError(f"{folder} holds {what}; name a new or empty folder")
    if state.read_text("utf-8") != identity:
        raise UserError(
            f"{folder} holds an unfinished export of something else ({state} says what); finish it with the same "
            "store, version and options, or name a new folder"
        )


def _write_shards(request: Request, chosen: Format, shards: Plan, console: Console) -> list[ExportedFile]:
    """Write the shards that are not finished yet; return the files of all, in the order of the plan."""
    done = {shard: _finished(request.folder, shard) for shard in shards.shards}
    left = [shard for shard, files in done.items() if files is None]
    kept, roots = KeptAudio(request.store, request.version), recorded_roots(request.version)
    of_shard = partial(utterances, request.store, kept=kept, roots=roots)
    with bar("export", sum(shard.seconds for shard in left), console) as shown:
        ticker = _Ticker(shown)
        jobs = (partial(_write_shard, request, chosen, shard, of_shard, ticker) for shard in left)
        with ThreadPoolExecutor(request.threads) as pool:
            try:
                done.update(zip(left, run_in(pool, jobs, depth=2 * request.threads), strict=True))
            finally:
                ticker.stop()
    return [file for files in done.values() for file in files or ()]


def _write_shard(
    request: Request, chosen: Format, shard: Shard, of_shard: Callable[[Shard], Iterator[Utterance]], ticker: _Ticker
) -> list[ExportedFile]:
    paths = chosen.paths(shard)
    with refusals(request.folder):
        with whole_files(request.folder, paths) as drafts:
            chosen.write(drafts, ticker.counted(of_shard(shard)))
        files = [exported(request.folder, path) for path in paths]
        write_text(request.folder, _receipt(shard), json.dumps([file.to_dict() for file in files]))
    return files


def _receipt(shard: Shard) -> str:
    return f"{STATE}/{shard.split}.{shard.number:05d}.json"


def _finished(folder: Path, shard: Shard) -> list[ExportedFile] | None:
    """The files of a shard; None if it is not finished."""
    receipt = folder / _receipt(shard)
    if not receipt.is_file():
        return None
    files = [ExportedFile(**values) for values in json.loads(receipt.read_text("utf-8"))]
    whole = all((folder / file.path).is_file() and (folder / file.path).stat().st_size == file.bytes for file in files)
    return files if whole else None
