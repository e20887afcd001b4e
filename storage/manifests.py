"""Corpus versions: numbered, immutable JSON files; writing one is the only way to commit."""

import json
import re
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from storage.artifacts import ArtifactRef
from storage.errors import AlreadyExists, CommitConflict, CorruptStore, NotFound, StorageError
from storage.receipts import DataFile, Receipt, to_json
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.uris import split_version

MANIFEST_FORMAT = 1
NAMED_VERSION = re.compile(r"(.+)@[^/@]+", re.DOTALL)
"""A store followed by `@` and something that is not a version number, or a store whose name contains an `@`."""
_NAME = re.compile(r"manifests/(\d{8,})\.json")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One version of a corpus.

    Attributes:
        version: number from 1, without gaps.
        parent: number of the version before; None for the first.
        steps: receipts of all work units by step, those of earlier versions first.
        artifacts: quantizer and unit language by name.
        config: configuration of the build.
        lineage: sources and tools of the version.
        statistics: numbers to show.
        review: points that a person should look at before training on the version; empty for most.
        created: UTC, ISO 8601.
        store: URI of the store that it was read from or committed to; not part of the file.
    """

    version: int
    parent: int | None
    steps: dict[str, list[Receipt]]
    artifacts: dict[str, ArtifactRef]
    config: dict[str, Any]
    lineage: dict[str, Any]
    statistics: dict[str, Any]
    review: list[str] = field(default_factory=list[str])
    created: str = field(default_factory=_now)
    store: str = ""

    @property
    def uri(self) -> str:
        """`<store>@<version>`, as `resolve` accepts it."""
        return f"{self.store}@{self.version}"

    def files(self, table: str, step: str | None = None) -> list[DataFile]:
        """Files of a table in the order of the receipts, of all steps or of one.

        Raises:
            StorageError: a corpus has no table of that name; the message lists the tables.
        """
        if table not in SCHEMAS:
            raise StorageError(f"no table {table!r}; there are {', '.join(sorted(SCHEMAS))}")
        steps = self.steps if step is None else {step: self.steps.get(step, [])}
        receipts = (receipt for name in sorted(steps) for receipt in steps[name])
        return [file for receipt in receipts for file in receipt.files if file.table == table]

    def to_dict(self) -> dict[str, Any]:
        """The manifest file as JSON values."""
        values = asdict(self)
        del values["store"]
        return {"format": MANIFEST_FORMAT, **values}


_MANIFEST = TypeAdapter(Manifest)
_FORMAT = TypeAdapter(int)


def versions(store: Store) -> list[int]:
    """Numbers of all versions, ascending."""
    matches = (_NAME.fullmatch(path) for path in store.list("manifests"))
    return sorted(int(match[1]) for match in matches if match)


def latest(store: Store) -> Manifest | None:
    """Return the last version; None before the first commit.

    Raises:
        StorageError: as `load`.
    """
    numbers = versions(store)
    return load(store, numbers[-1]) if numbers else None


def load(store: Store, version: int) -> Manifest:
    """Read a version of the corpus.

    Raises:
        StorageError: no such version (the message lists the existing ones), or a newer program wrote it.
        CorruptStore: the file is not a manifest.
    """
    path = _path(version)
    try:
        data = store.get(path)
    except NotFound as error:
        raise StorageError(f"{store.uri} has no version {version}; it has {_described(versions(store))}") from error
    return replace(_parse(data, store.url(path), version), store=store.uri)


def commit(store: Store, manifest: Manifest) -> Manifest:
    """Make a version of the corpus visible to all readers, whole and at once; it is durable when this returns.

    Args:
        store: the target.
        manifest: the next version; its parent is the last one.

    Returns:
        The manifest as `load` returns it.

    Raises:
        CommitConflict: another build committed this version first; nothing has changed.
        StorageError: the version does not follow its parent, or the parent is missing.
    """
    if manifest.version != (manifest.parent or 0) + 1:
        raise StorageError(f"version {manifest.version} does not follow version {manifest.parent or 0}")
    if manifest.parent is not None and not store.exists(_path(manifest.parent)):
        raise StorageError(f"{store.uri} has no version {manifest.parent} to build on")
    try:
        store.create(_path(manifest.version), to_json(manifest.to_dict()))
    except AlreadyExists as error:
        raise CommitConflict(
            f"another build committed version {manifest.version} of {store.uri} first; "
            "build again, finished work is kept"
        ) from error
    return replace(manifest, store=store.uri)


def resolve(uri: str | Path) -> tuple[Store, Manifest]:
    """Open a corpus: `path/or/s3://...` for its last version, with `@3` at the end for version 3.

    Only digits after the last `@` are a version; add a slash to the path of a folder with such a name.

    Raises:
        StorageError: no store there, nothing committed yet, or no such version.
    """
    place, version = split_version(str(uri))
    try:
        store = Store.open(place)
        manifest = latest(store) if version is None else load(store, version)
        if manifest is None:
            raise StorageError(f"{store.uri} has no corpus version yet; finish one with `echox build`")
    except StorageError as error:
        if version is None and (named := NAMED_VERSION.fullmatch(place)):
            raise StorageError(f"{error}. @VERSION is a number: {named[1]}@1, or {named[1]} for the last one") from None
        raise
    return store, manifest


def history(uri: str | Path) -> tuple[Store, list[Manifest]]:
    """Open a corpus with all its versions, ascending.

    Raises:
        StorageError: as `resolve`.
    """
    store, last = resolve(uri)
    return store, [*(load(store, number) for number in versions(store) if number < last.version), last]


def _path(version: int) -> str:
    return f"manifests/{version:08d}.json"


def _described(numbers: list[int]) -> str:
    """Format version numbers, which have no gaps, for a person."""
    if not numbers:
        return "none yet"
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _parse(data: bytes, where: str, version: int) -> Manifest:
    try:
        values = json.loads(data)
        written = _FORMAT.validate_python(values["format"])
        manifest = None if written > MANIFEST_FORMAT else _MANIFEST.validate_python(values)
    except (ValueError, KeyError, TypeError) as error:  # not JSON, or JSON of something else
        raise CorruptStore(f"{where} is not a manifest: {error}") from error
    if manifest is None:
        raise StorageError(f"{where} has format {written}, this program reads up to {MANIFEST_FORMAT}; upgrade echox")
    if manifest.version != version:
        raise CorruptStore(f"{where} says that it is version {manifest.version}")
    return manifest
