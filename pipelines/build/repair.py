"""Compute the missing and damaged files of a corpus version again, where the result is proved to be what was written.

The plan of each version of a store can be made again from the versions before it, so a lost work unit or artifact is
computed from the same inputs. A file is written only if its SHA-256 is the recorded one.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from obstore.store import LocalStore, S3Store
from pydantic import ValidationError
from rich.console import Console

from pipelines.config.build import BuildConfig
from pipelines.engine.build_step import FitStep, TableStep
from pipelines.engine.execution import ExecutionConfig
from pipelines.engine.session import Session
from pipelines.engine.state import BuildState
from pipelines.engine.step import Process, Step, WorkUnit, tables_of
from pipelines.errors import USER_ERRORS
from pipelines.records import check_made
from pipelines.steps import steps
from pipelines.steps.ingest import Ingest
from storage.artifacts import CHECKSUMS, ArtifactRef, checksums_of, digest, get_artifact
from storage.errors import RESTORE, CorruptStore, NotFound, StorageError
from storage.receipts import DataFile, Receipt
from storage.records import to_json
from storage.store import Store
from storage.tables import is_as_named, rows_to_parquet
from storage.uris import Bucket, split_version
from storage.verify import broken_files
from storage.versions import Version, described, load, version_numbers

DIFFERS = "computed again, it differs from what was written: sources, packages or machine are not those of then"
FOLDERS = ("data", "training")
"""Folders of tables."""


@dataclass(frozen=True)
class Repair:
    """Fate of a missing or damaged file.

    Attributes:
        path: its path in the store.
        done: what was done; empty if it is still missing or damaged.
        fault: why it could not be computed again; empty if it was.
    """

    path: str
    done: str = ""
    fault: str = ""


class Aside(Store):
    """A store that lacks one folder; what is written into that folder is kept in memory.

    Attributes:
        folder: path of the folder, without a slash at the end.
        made: contents of the files written into it, by path.
    """

    def __init__(self, place: Path | Bucket, objects: LocalStore | S3Store) -> None:
        super().__init__(place, objects)
        self.folder = ""
        self.made: dict[str, bytes] = {}

    def exists(self, path: str) -> bool:
        """See `Store.exists`."""
        return path in self.made if self._is_aside(path) else super().exists(path)

    def create(self, path: str, data: bytes) -> None:
        """See `Store.create`."""
        if self._is_aside(path):
            self.made[path] = data
        else:
            super().create(path, data)

    def _is_aside(self, path: str) -> bool:
        return path.startswith(f"{self.folder}/")


def repair(store: Store, version: Version) -> Iterator[Repair]:
    """Yield what became of each missing or damaged file of a version, and of damaged files of unfinished builds.

    A damaged file that no version refers to is removed: the next build computes it. The others are computed again in
    this process, one after the other, in the order of the steps.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    yield from _strangers(store)
    states = list(_states(store, check_made(store, version)))
    for name, step in steps().items():
        if issubclass(step, TableStep):
            yield from _tables(store, name, version.steps.get(name, ()), step, states)
        elif issubclass(step, FitStep) and step.artifact in version.artifacts:
            yield from _artifact(store, version.artifacts[step.artifact], step, states)


def _strangers(store: Store) -> Iterator[Repair]:
    """Remove the damaged tables that no version refers to; nothing if a version cannot be read."""
    with suppress(CorruptStore):
        versions = [load(store, number) for number in version_numbers(store)]
        known = {file.path for version in versions for file in version.contents.tables}
        for path in [path for folder in FOLDERS for path in store.list(folder) if path not in known]:
            if not is_as_named(store, path):
                store.delete(path)
                yield Repair(path, "removed: no version refers to it")


def _states(store: Store, version: Version) -> Iterator[BuildState]:
    """Yield the states in which a version and those before it were committed, the first version first.

    A version is left out if its file is damaged or its config is none of today. The next one then plans its new shards
    from other work units than it did, so that they are not found.
    """
    session = Session(store, ExecutionConfig(), None, Console(quiet=True))
    parent: Version | None = None
    for number in range(1, version.number + 1):
        try:
            made = check_made(store, load(store, number))
            config = BuildConfig.model_validate({**made.config, "store": store.uri})
            receipts = dict(made.steps)
        except (StorageError, ValidationError):
            parent = None
            continue
        yield BuildState(config, session, parent, receipts, made.artifacts, dict(made.lineage["specs"]))
        parent = made


def _why_unknown(store: Store) -> str:
    """Why no version tells how something was made, and what a person can do."""
    there = version_numbers(store)
    removed = [number for number in range(1, there[-1]) if number not in there]
    which = f"a version that `echox gc` removed ({described(removed)})" if removed else "a version that cannot be read"
    return f"it came with {which}, and only that one tells how it was made; {RESTORE}"


def _tables(
    store: Store, name: str, receipts: Sequence[Receipt], step: type[TableStep[Any]], states: Sequence[BuildState]
) -> Iterator[Repair]:
    """Compute the broken tables of a step again."""
    broken = {file.path for file, _ in broken_files(store, [file for receipt in receipts for file in receipt.files])}
    lost = [receipt for receipt in receipts if any(file.path in broken for file in receipt.files)]
    planned = _planned(step, states) if lost else {}
    opened: dict[str, Process[Any]] = {}
    for receipt in lost:
        files = [file for file in receipt.files if file.path in broken]
        try:
            if receipt.fingerprint not in planned:
                raise NotFound(f"work unit {receipt.fingerprint} of step {name}: {_why_unknown(store)}")
            configured, work_unit = planned[receipt.fingerprint]
            if repr(configured) not in opened:
                opened[repr(configured)] = configured.open(store)
            output = opened[repr(configured)]({key: work_unit.payload[key] for key in {*work_unit.payload} - {"kept"}})
        except USER_ERRORS as error:
            yield from (Repair(file.path, fault=str(error)) for file in files)
        else:
            made = _by_path(receipt.files, tables_of(configured, output))
            yield from (_written(store, file, made.get(file.path)) for file in files)


def _by_path(files: Sequence[DataFile], tables: Sequence[tuple[str, pa.Table]]) -> dict[str, pa.Table]:
    """The tables of a work unit by the paths of their files; those of one name are in the order of their files."""
    found: dict[str, pa.Table] = {}
    for name in {name for name, _ in tables}:
        paths = (file.path for file in files if file.table == name)
        found |= dict(zip(paths, (table for other, table in tables if other == name), strict=False))
    return found


def _written(store: Store, file: DataFile, table: pa.Table | None) -> Repair:
    """Write a table if it gives the file; those of earlier versions of the program have no checksums of pages."""
    for page_checksums in (True, False):
        data = b"" if table is None else rows_to_parquet(file.table, table, page_checksums=page_checksums)
        if digest(data) == file.sha256:
            store.put(file.path, data)
            return Repair(file.path, "computed again")
    return Repair(file.path, fault=DIFFERS)


def _planned(step: type[TableStep[Any]], states: Sequence[BuildState]) -> dict[str, tuple[Step[Any], WorkUnit[Any]]]:
    """The work units of a step by fingerprint, as the builds of all versions planned them."""
    planned: dict[str, tuple[Step[Any], WorkUnit[Any]]] = {}
    for state in states:
        plan = Ingest.stored_plan(state) if step is Ingest else step.plan(state)
        for work_unit in plan.work_units:
            planned |= dict.fromkeys((work_unit.fingerprint, *work_unit.earlier), (plan.step, work_unit))
    return planned


def _artifact(
    store: Store, artifact: ArtifactRef, step: type[FitStep], states: Sequence[BuildState]
) -> Iterator[Repair]:
    """Fit a damaged artifact again, and write the files that are proved to be what was written."""
    with suppress(NotFound, CorruptStore):
        get_artifact(store, artifact.kind, artifact.fingerprint)
        return
    try:
        made = _fitted(store, artifact, step, states)
    except USER_ERRORS as error:
        yield Repair(artifact.path, fault=str(error))
        return
    for name, proved in _proofs(store, artifact, made).items():
        path = f"{artifact.path}/{name}"
        if proved:
            store.put(path, made[name])
        yield Repair(path, "computed again") if proved else Repair(path, fault=DIFFERS)


def _fitted(store: Store, artifact: ArtifactRef, step: type[FitStep], states: Sequence[BuildState]) -> dict[str, bytes]:
    """Files of an artifact by name, fitted as in the build of the first version that has it.

    One of another store is read there.

    Raises:
        NotFound: no version before has it.
        CorruptStore: the fit gives another artifact.
        Exception: the inputs are not there any more.
    """
    state = next((state for state in states if state.artifacts.get(artifact.kind) == artifact), None)
    if state is None:
        raise NotFound(f"{artifact.path}: {_why_unknown(store)}")
    places = state.config.artifacts_from.places() if state.config.artifacts_from else {}
    if artifact.kind in places:
        return _copied(places[artifact.kind], artifact)
    aside = Aside.open(store.uri)
    aside.folder = artifact.path
    found = step.fit(replace(state, session=Session(aside, ExecutionConfig(), None, Console(quiet=True))))
    if found != artifact:
        raise CorruptStore(f"{artifact.path}: {DIFFERS}")
    return {path.removeprefix(f"{artifact.path}/"): data for path, data in aside.made.items()}


def _copied(place: str, artifact: ArtifactRef) -> dict[str, bytes]:
    """Files of an artifact by name, as the store has them that it was taken from."""
    files = get_artifact(Store.open(split_version(place)[0]), artifact.kind, artifact.fingerprint)
    return {**files, CHECKSUMS: to_json({name: digest(data) for name, data in files.items()})}


def _proofs(store: Store, artifact: ArtifactRef, made: Mapping[str, bytes]) -> dict[str, bool]:
    """Whether `made` is proved to hold what was written, for each file of an artifact that is missing or damaged.

    Each file is compared with its recorded checksum. If the record itself is missing or damaged, all other files that
    are there must be equal to those that were made.
    """
    there = {name: store.get(f"{artifact.path}/{name}") for name in made if store.exists(f"{artifact.path}/{name}")}
    try:
        recorded = dict(checksums_of(store, artifact.kind, artifact.fingerprint))
    except StorageError:
        recorded = {}
    others = there.keys() - {CHECKSUMS}
    equal = {name for name in others if there[name] == made[name]}
    whole = {name for name in others if digest(there[name]) == recorded.get(name)}
    lost = sorted(made.keys() - {CHECKSUMS} - equal - whole)
    if recorded and equal <= whole:
        return {name: digest(made[name]) == recorded.get(name) for name in lost}
    return dict.fromkeys([*lost, CHECKSUMS], bool(others) and equal == others)
