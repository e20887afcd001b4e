"""Corpus versions: numbered, immutable JSON files; writing one is the only way to commit.

A version names its work units by lists of receipts that it shares with other versions (`storage.lists`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from storage.artifacts import ArtifactRef
from storage.errors import RESTORE, AlreadyExists, CommitConflict, CorruptStore, NotFound, StorageError
from storage.lists.files import Layout, list_path
from storage.lists.steps import ListedSteps, put_steps
from storage.receipts import DataFile, Receipt, entries_path, receipt_folder, receipt_path, signatures_path
from storage.records import read_object, read_sealed, sealed, typed
from storage.schemas import LABELS, SCHEMAS
from storage.store import Store
from storage.uris import split_version

VERSION_FORMAT = 2
WHOLE = 1
"""Format of versions that hold all their receipts in their file; older programs wrote it."""
NAMED_VERSION = re.compile(r"(.+)@[^/@]+", re.DOTALL)
"""A store followed by `@` and something that is not a version number, or a store whose name contains an `@`."""
REMEDY = (
    f"{RESTORE}; if it is that of the last version, removing it and building again also helps: finished work is kept"
)
"""Remedy for a damaged file of a version."""
NOTE_PATH = "data/README.txt"
NOTE = b"""These folders hold the files of all versions of the corpus, and of builds that did not finish. A pattern
such as data/units/*.parquet or training/s2t/*.parquet mixes them silently. The files of one version are listed by

    echox files STORE@VERSION TABLE

and in manifests/, which has one file for each version, with the lists of files in lists/. Nothing here is ever
changed in place.
"""
"""Note to a person who looks into the folder of tables of a store."""
_NAME = re.compile(r"manifests/(\d{8,})\.json")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Contents:
    """References of a version, or of a build that may yet commit one. `copy`, `verify` and `gc` go by this alone.

    Attributes:
        tables: data and training files, in the order of steps and receipts.
        receipts: paths of the receipts of its work units.
        entries: paths of the listed entries of each work unit of `ingest`.
        signatures: paths of the signatures of these entries; stores of older programs have none.
        artifacts: quantizer and unit language.
        lists: names of the lists of receipts and of digests of entries.
    """

    tables: list[DataFile]
    receipts: list[str]
    entries: list[str]
    signatures: list[str]
    artifacts: list[ArtifactRef]
    lists: Sequence[str] = ()

    def paths(self) -> Iterator[str]:
        """Yield the paths of all files but those of the artifacts, of which each has a folder."""
        yield from (file.path for file in self.tables)
        yield from self.receipts
        yield from self.read_by_builds()
        yield from map(list_path, self.lists)

    def read_by_builds(self) -> Iterator[str]:
        """Yield the paths of what later builds read: entries, signatures, and the receipts of `ingest`."""
        yield from self.entries
        yield from self.signatures
        yield from (path for path in self.receipts if path.startswith(f"{receipt_folder('ingest')}/"))


def contents_of(steps: Mapping[str, Iterable[Receipt]], artifacts: Iterable[ArtifactRef]) -> Contents:
    """Files of these work units and artifacts."""
    receipts = [receipt for of_step in steps.values() for receipt in of_step]
    ingested = [receipt.fingerprint for receipt in steps.get("ingest", ())]
    return Contents(
        tables=[file for receipt in receipts for file in receipt.files],
        receipts=[receipt_path(receipt.step, receipt.fingerprint) for receipt in receipts],
        entries=[entries_path(name) for name in ingested],
        signatures=[signatures_path(name) for name in ingested],
        artifacts=list(artifacts),
    )


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a corpus.

    Attributes:
        number: number from 1.
        parent: number of the version before; None for the first.
        steps: receipts of all work units by step, those of earlier versions first. A version that was read from a store
            reads those of a step when they are asked for first.
        artifacts: quantizer and unit language by name.
        config: configuration of the build.
        lineage: sources and tools of the version.
        statistics: numbers to show.
        review: points that a person should look at before training on the version; empty for most.
        created: UTC, ISO 8601.
        entries: where the digests of its entries are, which the next build reads; None in versions of older programs.
        store: URI of the store that it was read from or committed to; not part of the file.
    """

    number: int
    parent: int | None
    steps: Mapping[str, list[Receipt]]
    artifacts: dict[str, ArtifactRef]
    config: dict[str, Any]
    lineage: dict[str, Any]
    statistics: dict[str, Any]
    review: list[str] = field(default_factory=list[str])
    created: str = field(default_factory=_now)
    entries: Layout | None = None
    store: str = ""

    def artifact(self, kind: str) -> ArtifactRef:
        """Location of an artifact.

        Raises:
            CorruptStore: the version has none of that kind.
        """
        if kind not in self.artifacts:
            raise CorruptStore(f"{self.uri}: the version has no {kind}; it is not one that `echox build` made")
        return self.artifacts[kind]

    @property
    def uri(self) -> str:
        """`<store>@<version>`, as `resolve` accepts it."""
        return f"{self.store}@{self.number}"

    @property
    def contents(self) -> Contents:
        """Everything that the version refers to."""
        return replace(contents_of(self.steps, self.artifacts.values()), lists=self.lists)

    def files(self, table: str, step: str | None = None) -> list[DataFile]:
        """Files of a table in the order of the receipts, of all steps or of one.

        Raises:
            StorageError: a corpus has no table of that name; the message lists the tables.
            CorruptStore: a list of receipts is missing or damaged.
        """
        tables = SCHEMAS.keys() - {LABELS}  # those lie beside a version
        if table not in tables:
            raise StorageError(f"no table {table!r}; there are {', '.join(sorted(tables))}")
        receipts = (receipt for name in sorted(self.steps) if step in (None, name) for receipt in self.steps[name])
        return [file for receipt in receipts for file in receipt.files if file.table == table]

    @property
    def lists(self) -> list[str]:
        """Names of the lists that the version needs; those of older programs hold all receipts in their file."""
        layouts = [*self.steps.layouts.values()] if isinstance(self.steps, ListedSteps) else []
        return sorted({name for layout in (*layouts, self.entries) if layout for name in layout.lists})


class _Format(TypedDict):
    format: int


class _Whole(TypedDict):
    steps: dict[str, list[Receipt]]


class _Lists(TypedDict):
    steps: dict[str, Layout]


_VERSION = TypeAdapter(Version)
_FORMAT = TypeAdapter(_Format)
_WHOLE = TypeAdapter(_Whole)
_LISTS = TypeAdapter(_Lists)
_FIELDS = {"format", "version", *(field.name for field in fields(Version))} - {"number", "store"}


def version_numbers(store: Store) -> list[int]:
    """Numbers of all versions, ascending."""
    matches = (_NAME.fullmatch(path) for path in store.list("manifests"))
    return sorted(int(match[1]) for match in matches if match)


def latest(store: Store) -> Version | None:
    """Return the last version; None before the first commit.

    Raises:
        StorageError: as `load`.
    """
    existing = version_numbers(store)
    return load(store, existing[-1]) if existing else None


def load(store: Store, number: int) -> Version:
    """Read a version of the corpus.

    Raises:
        StorageError: no such version (the message lists the existing ones), or a newer program wrote it.
        CorruptStore: the file does not hold a version.
    """
    return parsed(version_file(store, number), store, number)


def version_file(store: Store, number: int) -> bytes:
    """The contents of the file of a version, unchecked; `parsed` checks them.

    Raises:
        StorageError: no such version; the message lists the existing ones.
    """
    try:
        return store.get(version_path(number))
    except NotFound as error:
        raise StorageError(
            f"{store.uri} has no version {number}; it has {described(version_numbers(store))}"
        ) from error


def parsed(data: bytes, store: Store, number: int) -> Version:
    """The version of a store that its file holds.

    Raises:
        StorageError: a newer program wrote it.
        CorruptStore: the contents are not those of a version of that number.
    """
    where = store.url(version_path(number))
    written = typed(_FORMAT, read_object(data, where, REMEDY), where, REMEDY)["format"]
    if written > VERSION_FORMAT:
        raise StorageError(f"{where} has format {written}, this program reads up to {VERSION_FORMAT}; upgrade echox")
    values = read_sealed(data, where, _FIELDS, REMEDY)
    if written == WHOLE:
        steps = typed(_WHOLE, values, where, REMEDY)["steps"]
    else:
        steps = ListedSteps(store, typed(_LISTS, values, where, REMEDY)["steps"])
    version = typed(_VERSION, {**values, "number": values.get("version"), "steps": {}}, where, REMEDY)
    if version.number != number:
        raise CorruptStore(f"{where} says that it is version {version.number}")
    return replace(version, steps=steps, store=store.uri)


def commit(store: Store, version: Version, parent: Version | None = None) -> Version:
    """Make a version of the corpus visible to all readers, whole and at once; it is durable when this returns.

    Its lists of receipts are written before its file. Those of its parent are shared as far as they are the same.

    Args:
        store: the target.
        version: the next version; its parent is the last one.
        parent: the parent as `load` returned it, so that its receipts are not read twice.

    Returns:
        The version as `load` returns it.

    Raises:
        CommitConflict: another build committed this version first; nothing has changed.
        StorageError: the version does not follow its parent, or the parent is missing.
    """
    if version.number != (version.parent or 0) + 1:
        raise StorageError(f"version {version.number} does not follow version {version.parent or 0}")
    if version.parent is not None and not store.exists(version_path(version.parent)):
        raise StorageError(f"{store.uri} has no version {version.parent} to build on")
    if version.parent is None:
        store.put(NOTE_PATH, NOTE)
    elif parent is None or (parent.store, parent.number) != (store.uri, version.parent):
        parent = load(store, version.parent)
    listed = put_steps(store, version.steps, parent.steps if parent else {})
    try:
        store.create(version_path(version.number), sealed(_file_of(version, listed)))
    except AlreadyExists as error:
        raise CommitConflict(
            f"another build committed version {version.number} of {store.uri} first; build again, finished work is kept"
        ) from error
    return replace(version, steps=ListedSteps(store, listed, version.steps), store=store.uri)


def _file_of(version: Version, listed: Mapping[str, Layout]) -> dict[str, Any]:
    """The file of a version, as JSON values."""
    values = asdict(replace(version, steps={}))
    values["steps"] = {step: asdict(of_step) for step, of_step in listed.items()}
    del values["store"]
    return {"format": VERSION_FORMAT, "version": values.pop("number"), **values}


def resolve(uri: str | Path) -> tuple[Store, Version]:
    """Open a corpus: `path/or/s3://...` for its last version, with `@3` at the end for version 3.

    Only digits after the last `@` are a version; add a slash to the path of a folder with such a name.

    Raises:
        StorageError: no store there, nothing committed yet, or no such version.
    """
    store, number = _opened(uri)
    return store, load(store, number)


def history(uri: str | Path) -> tuple[Store, Iterator[Version]]:
    """Open a corpus with its versions, ascending, up to the one that the URI names.

    One version is read at a time, when it is its turn: a large one takes hundreds of megabytes of memory.

    Raises:
        StorageError: as `resolve`; those of a version are raised when it is its turn.
    """
    store, last = _opened(uri)
    numbers = [*(number for number in version_numbers(store) if number < last), last]
    return store, map(partial(load, store), numbers)


def _opened(uri: str | Path) -> tuple[Store, int]:
    """Open a store; return it with the number of the version that the URI names, or of the last one."""
    place, number = split_version(str(uri))
    try:
        store = Store.open(place)
        if number is not None:
            return store, number
        if existing := version_numbers(store):
            return store, existing[-1]
        raise StorageError(f"{store.uri} has no corpus version yet; finish one with `echox build`")
    except StorageError as error:
        if number is None and (named := NAMED_VERSION.fullmatch(place)):
            raise StorageError(f"{error}. @VERSION is a number: {named[1]}@1, or {named[1]} for the last one") from None
        raise


def version_path(number: int) -> str:
    """Path of the file of a version."""
    return f"manifests/{number:08d}.json"


def report_path(number: int) -> str:
    """Path of the page with the facts of a version."""
    return f"reports/{number:08d}.html"


def described(numbers: Sequence[int]) -> str:
    """Format ascending version numbers for a person: `1 to 3, 5`; a store that was copied in part has gaps."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    return ", ".join(" to ".join(map(str, ends)) for ends in ranges) or "none yet"
