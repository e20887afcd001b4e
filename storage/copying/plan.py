"""Files that a copy of corpus versions has to bring to its target."""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.artifacts import ArtifactRef, digest
from storage.errors import StorageError
from storage.labels.kept import labels_of, labels_path
from storage.lists.files import list_path
from storage.receipts import DataFile
from storage.store import Store
from storage.uris import split_version
from storage.versions import described, parsed, version_file, version_numbers


@dataclass(frozen=True)
class VersionPlan:
    """Files of one version that a target lacks, apart from those that it gets with earlier ones.

    Attributes:
        number: number of the version.
        sha256: SHA-256 of its file, hexadecimal.
        files: its tables that the target lacks.
        lists: names of its lists of receipts that the target lacks.
        entries: paths of what builds read besides tables, such as the listed entries, that the target lacks.
        artifacts: all its artifacts.
        labels: paths of the records of its labels that the target lacks; `files` has their tables.
    """

    number: int
    sha256: str
    files: tuple[DataFile, ...]
    lists: tuple[str, ...]
    entries: tuple[str, ...]
    artifacts: tuple[ArtifactRef, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class CopyPlan:
    """Work of a copy.

    Attributes:
        source: the store of the versions.
        target: the store that they are copied to.
        versions: ascending.
        files_there: number of tables that the target has already.
    """

    source: Store
    target: Store
    versions: tuple[VersionPlan, ...]
    files_there: int

    @property
    def files(self) -> int:
        """Number of tables to copy."""
        return sum(len(version.files) for version in self.versions)

    @property
    def bytes(self) -> int:
        """Size of the tables to copy."""
        return sum(file.bytes for version in self.versions for file in version.files)


class _There:
    """Files of a store, listed folder by folder when they are asked for, and those that the copy will bring.

    Attributes:
        kept: number of tables asked for that the store has already.
    """

    def __init__(self, store: Store) -> None:
        self.kept = 0
        self._store = store
        self._sizes: dict[str, int] = {}
        self._listed: set[str] = set()
        self._counted: set[str] = set()

    def lacks(self, path: str, size: int | None = None) -> bool:
        """Whether the store has no such file, or one of another size; true once, for then the copy will bring it."""
        if path in self._counted:
            return False
        self._counted.add(path)
        folder = path.rpartition("/")[0]
        if folder not in self._listed:
            self._sizes.update(self._store.sizes(folder))
            self._listed.add(folder)
        found = self._sizes.get(path)
        there = found is not None and size in (None, found)
        self.kept += there and size is not None
        return not there


def asked_for(corpora: Sequence[str]) -> tuple[Store, list[int]]:
    """Open the store that several STORE or STORE@VERSION name; return it with the numbers of these versions, ascending.

    A STORE without a version stands for all its versions.

    Raises:
        StorageError: they name several stores, there is none, or it has no such version.
    """
    named = [split_version(corpus) for corpus in corpora]
    stores = {place: Store.open(place) for place, _ in named}
    if len({store.uri for store in stores.values()}) > 1:
        raise StorageError(f"{' and '.join(stores)} are several stores; copy them one after the other")
    store = stores[named[0][0]]
    existing = version_numbers(store)
    if not existing:
        raise StorageError(f"{store.uri} has no corpus version yet; finish one with `echox build`")
    wanted = {number for _, number in named if number is not None}
    if absent := sorted(wanted - {*existing}):
        raise StorageError(f"{store.uri} has no version {absent[0]}; it has {described(existing)}")
    return store, existing if any(number is None for _, number in named) else sorted(wanted)


def open_target(uri: str, source: Store) -> Store:
    """Open the store to copy to, creating it if needed.

    Raises:
        StorageError: it is the source, names a version, or cannot be written.
    """
    place, number = split_version(uri)
    if number is not None:
        raise StorageError(f"{uri}: a version is copied under its own number; name the store alone: {place}")
    target = Store.open(uri, create=True)
    if target.uri == source.uri:
        raise StorageError(f"{uri} is the store to copy from; name another one")
    target.remove_leftovers()
    return target


def plan_copy(source: Store, numbers: Sequence[int], target: Store) -> CopyPlan:
    """Find what a target lacks of versions of a source.

    A file that is there with its size is whole, for files appear under their names only when they are. One version is
    in memory at a time, and a record of each file.

    Args:
        source: the store of the versions.
        numbers: their numbers, ascending.
        target: another store.

    Raises:
        StorageError: a version cannot be read, or the target has other contents under the number of one.
    """
    _check_same(source, target, numbers[-1])
    there = _There(target)
    versions = tuple(_plan_version(source, number, there) for number in numbers)
    return CopyPlan(source, target, versions, there.kept)


def _plan_version(source: Store, number: int, there: _There) -> VersionPlan:
    data = version_file(source, number)
    version = parsed(data, source, number)
    contents = version.contents
    labels = {labels_path(number, of.name): of for of in labels_of(source, number)}
    new = {path: of for path, of in labels.items() if there.lacks(path)}
    tables = [*contents.tables, *(file for of in new.values() for file in of.contents.tables)]
    return VersionPlan(
        number,
        digest(data),
        tuple(file for file in tables if there.lacks(file.path, file.bytes)),
        tuple(name for name in contents.lists if there.lacks(list_path(name))),
        tuple(path for path in contents.read_by_builds() if there.lacks(path)),
        tuple(contents.artifacts),
        tuple(new),
    )


def _check_same(source: Store, target: Store, last: int) -> None:
    """Refuse a target that has another version than the source under a number up to `last`."""
    for number in sorted({*version_numbers(source)} & {*version_numbers(target)}):
        if number <= last:
            check_same(source, target, number)


def check_same(source: Store, target: Store, number: int) -> None:
    """Refuse a target whose version is not the one of the source.

    Raises:
        StorageError: it is not.
    """
    if version_file(source, number) != version_file(target, number):
        raise StorageError(
            f"{target.uri} has another version {number} than {source.uri}, and versions are never replaced: copy into "
            "another store"
        )
