"""Files to which no version of a store refers."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from storage.artifacts import CARD
from storage.errors import NotFound, StorageError
from storage.labels.kept import labels_of
from storage.models import cards_that_stay
from storage.receipts import parse_receipt
from storage.s3 import Listed
from storage.store import Store
from storage.verify import in_threads
from storage.versions import Contents, contents_of, described, load, version_numbers

PHASES = (
    r"manifests/(?P<version>\d{8,})\.json",
    r"(approvals/(?P<approved>\d{8,})\.json|reports/(?P<reported>\d{8,})\.html|labels/(?P<labelled>\d{8,})/[^/]+\.json)",
    r"(builds/\d{8,}|running|failures|failures/begun|runs/[^/]+)/[^/]+\.json",
    r"(data/receipts/[^/]+/[^/]+\.json|lists/[^/]+\.jsonl)",
    rf"artifacts/[^/]+/[^/]+/{re.escape(CARD)}",
    r"data/(items/[^/]+\.jsonl|listings/[^/]+\.json)",
    r"(data|training)/(?!receipts/|items/|listings/)[^/]+/[^/]+\.parquet",
    r"artifacts/[^/]+/[^/]+/[^/]+",
)
"""Paths that may be removed, in the order of removal: first what says that something is whole, then its parts. So who
reads meanwhile finds a version, a work unit or an artifact whole or not at all, and an interrupted removal leaves files
that the next one finds. Nothing else in a store is ever removed."""
RECEIPT = re.compile(r"data/receipts/[^/]+/[^/]+\.json")
FOLDERS = (
    *("manifests", "approvals", "reports", "labels", "builds", "running", "failures", "runs"),
    *("lists", "data", "training", "artifacts"),
)
TEMPORARY = "unfinished files"
"""Name of the files that killed writers left, in counts by kind."""


@dataclass(frozen=True)
class Garbage:
    """Files to remove from a store.

    Attributes:
        store: the store.
        expired: numbers of the versions to remove, ascending.
        kept: numbers of those that stay, ascending.
        phases: files in the order of removal; the files of one phase in any order.
        temporary: path and size in bytes of files that killed writers left on a disk.
    """

    store: Store
    expired: tuple[int, ...]
    kept: tuple[int, ...]
    phases: tuple[tuple[Listed, ...], ...]
    temporary: tuple[tuple[Path, int], ...]

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield kind and size in bytes of each file. The kind is its folder, as in `docs/corpus.md`."""
        for phase in self.phases:
            yield from ((_kind(file.path), file.bytes) for file in phase)
        yield from ((TEMPORARY, size) for _, size in self.temporary)


class References:
    """Files that must stay in a store."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._folders: set[str] = set()

    def add(self, contents: Contents) -> None:
        """Keep what a version or an unfinished build refers to."""
        self._paths.update(contents.paths())
        self._folders.update(artifact.path for artifact in contents.artifacts)

    def add_paths(self, paths: Iterable[str]) -> None:
        """Keep files."""
        self._paths.update(paths)

    def __contains__(self, path: str) -> bool:
        return path in self._paths or path.rpartition("/")[0] in self._folders


def find_garbage(
    store: Store,
    expire: Collection[int],
    *,
    before: datetime,
    grace_seconds: float,
    pending: Iterable[Contents] = (),
    alive: Collection[str] = (),
) -> Garbage:
    """Find what no version refers to once some have been removed.

    A receipt that is too young to be removed keeps the files that it names, and the entries of its work unit: their
    signatures tell whether it is still valid. The card of a trained model goes with the version that it was trained on.

    Args:
        store: the store.
        expire: numbers of versions to remove; the others stay with all that they refer to.
        before: only files that were written before this time are removed, and those of removed versions.
        grace_seconds: age of the unfinished files of killed writers.
        pending: what builds refer to that may yet commit.
        alive: paths of the marks of programs that still count.

    Raises:
        StorageError: there is no version, or none would be left; `expire` has the newest or one that is not there; a
            version that stays cannot be read.
    """
    numbers = version_numbers(store)
    _check(store, numbers, expire)
    kept = [number for number in numbers if number not in expire]
    references = References()
    for number in kept:
        references.add(load(store, number).contents)
        for labels in labels_of(store, number):
            references.add(labels.contents)
    for contents in pending:
        references.add(contents)
    references.add_paths(cards_that_stay(store, lambda number: number in kept or number > numbers[-1]))
    files = [file for folder in FOLDERS for file in store.listed(folder)]
    young = [file.path for file in files if file.modified > before and file.path not in references]
    for contents in _of_receipts(store, filter(RECEIPT.fullmatch, young)):
        references.add(contents)
    phases: list[list[Listed]] = [[] for _ in PHASES]
    for file in files:
        phase = _phase(file, numbers, expire, before)
        if phase is not None and file.path not in references and file.path not in alive:
            phases[phase].append(file)
    temporary = tuple(store.leftovers(grace_seconds))
    return Garbage(store, tuple(sorted(expire)), tuple(kept), tuple(map(tuple, phases)), temporary)


def remove(garbage: Garbage, check: Callable[[], None]) -> None:
    """Remove the files, phase by phase.

    Args:
        garbage: found just before.
        check: raises if the removal must not go on.

    Raises:
        StorageError: the store does not answer or refuses; what is left is found again.
    """

    def delete(path: str) -> None:
        check()
        garbage.store.delete(path)

    for phase in garbage.phases:
        for _ in in_threads(partial(delete, file.path) for file in phase):
            pass
        garbage.store.settle(sorted({file.path.rpartition("/")[0] for file in phase}))
    for path, _ in garbage.temporary:
        path.unlink(missing_ok=True)


def _check(store: Store, numbers: Sequence[int], expire: Collection[int]) -> None:
    """Refuse to remove what no version protects, the newest version, or one that is not there."""
    if not numbers:
        raise StorageError(f"{store.uri} has no corpus version yet, so all in it would go; remove the folder itself")
    if absent := sorted({*expire} - {*numbers}):
        raise StorageError(f"{store.uri} has no version {absent[0]}; it has {described(numbers)}")
    if numbers[-1] in expire:
        raise StorageError(f"{store.uri}: version {numbers[-1]} is the newest one, which the next build starts from")


def _of_receipts(store: Store, paths: Iterable[str]) -> Iterator[Contents]:
    """Yield what each receipt refers to; a damaged one refers to nothing."""
    for path in paths:
        with suppress(NotFound):
            if receipt := parse_receipt(store.get(path), store, path):
                yield contents_of({receipt.step: [receipt]}, ())


def _phase(file: Listed, numbers: Sequence[int], expire: Collection[int], before: datetime) -> int | None:
    """Position of the phase in which a file may be removed; None if it may not."""
    for phase, pattern in enumerate(PHASES):
        if match := re.fullmatch(pattern, file.path):
            found = next((int(number) for number in match.groupdict().values() if number), None)
            if found is None:
                return phase if file.modified <= before else None
            lost = found not in numbers and found < numbers[-1] and file.modified <= before
            return phase if found in expire or lost else None
    return None


def _kind(path: str) -> str:
    """Folder of a file, without that of one step or artifact."""
    folders = path.split("/")[:-1]
    return "/".join(folders[:2] if folders[0] in ("data", "training", "artifacts") else folders[:1])
