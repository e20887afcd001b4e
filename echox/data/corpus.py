"""A corpus version as training reads it: files of a table, unit language, texts, and the held-out rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from math import nextafter
from pathlib import Path
from typing import Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from echox.data.contents import (
    TRAIN_SPLITS,
    VALID_SPLITS,
    Contents,
    Counts,
    hashed,
    read_contents,
    stated_contents,
)
from echox.errors import EchoxError
from storage.artifacts import get_artifact
from storage.local import write_file
from storage.receipts import DataFile, Receipt
from storage.schemas import TRAINING
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version, resolve
from unitlang.ahead import run_ahead
from unitlang.language.unit_language import UnitLanguage

STEP = "shard"
"""The step that writes the training tables."""
READERS = 32
"""Small reads in flight: at 50 ms a request they bring 640 answers a second."""

T = TypeVar("T")


@dataclass(frozen=True)
class RowGroup:
    """A row group of a training table.

    Attributes:
        path: path of its file in the store.
        number: its number in the file.
        counts: its rows by use.
    """

    path: str
    number: int
    counts: Counts


@dataclass(frozen=True)
class Corpus:
    """One version of a corpus, open for reading.

    Attributes:
        store: the store that holds it.
        version: the version.
    """

    store: Store
    version: Version

    @classmethod
    def open(cls, uri: str) -> Self:
        """Open the corpus at STORE or STORE@VERSION.

        Raises:
            StorageError: there is none.
        """
        return cls(*resolve(uri))

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of quantizer and unit language, which models that work together must share."""
        return {kind: self.version.artifact(kind).fingerprint for kind in ("quantizer", "unit_language")}

    @cached_property
    def unit_language(self) -> UnitLanguage:
        """The unit language, whose words are the targets of T2C and Echo."""
        return UnitLanguage.load(get_artifact(self.store, "unit_language", self.fingerprints["unit_language"]))

    def paths(self, table: str) -> list[str]:
        """Return the paths of a training table's files in the store, in the order of this version."""
        return [file.path for file in self.version.files(table, STEP)]

    def rows(self, table: str) -> int:
        """Return the number of rows of a training table."""
        return sum(file.rows for file in self.version.files(table, STEP))

    def contents(self, table: str) -> list[Contents]:
        """Return what the files of a training table hold, in the order of this version.

        Raises:
            CorruptStore: a file whose receipt does not say it is missing or damaged.
            StorageError: the store does not answer or refuses.
        """
        receipts = self.version.steps.get(STEP, ())
        files = [(receipt, file) for receipt in receipts for file in receipt.files if file.table == table]
        return list(side_by_side(partial(self._contents, receipt, file) for receipt, file in files))

    def row_groups(self, table: str) -> list[RowGroup]:
        """Return the row groups of a training table, in the order of files and rows.

        Raises:
            StorageError: as `contents`.
        """
        files = zip(self.paths(table), self.contents(table), strict=True)
        return [RowGroup(path, *group) for path, contents in files for group in enumerate(contents.groups)]

    def texts(self, text_columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """Yield the texts of some columns, by training table, in the order of tables and files."""
        for table in TRAINING:
            if names := text_columns.get(table, ()):
                paths = self.paths(table)
                for columns in side_by_side(partial(read_table, self.store, path, names) for path in paths):
                    for name in names:
                        yield from (text for text in columns[name].to_pylist() if text)

    def _contents(self, receipt: Receipt, file: DataFile) -> Contents:
        if stated := stated_contents(receipt.stats, file):
            return stated
        url = self.store.url(file.path)
        if url not in _read:
            _read[url] = read_contents(self.store, file.path)
        return _read[url]


_read: dict[str, Contents] = {}
"""Contents that were read from the files themselves, by URL; files never change."""
_READ = TypeAdapter(dict[str, Contents])


def keep_read_contents(path: Path) -> None:
    """Write what this process has read of files whose receipts do not say it, for `recall_read_contents`.

    Raises:
        StorageError: the disk refuses.
    """
    if _read:
        write_file(path, _READ.dump_json(_read), replace=True)


def recall_read_contents(path: Path) -> None:
    """Know again what another process has read; a file that is missing or damaged tells nothing."""
    with suppress(OSError, ValidationError):
        _read.update(_READ.validate_json(path.read_bytes()))


def side_by_side(jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Yield the results of many small reads in their order; `READERS` of them run ahead of the one that is yielded."""
    return run_ahead(jobs, threads=READERS, depth=READERS)


@dataclass(frozen=True)
class Holdout:
    """The choice of a table's rows for validation.

    Rows of the splits `valid`, `validation` and `dev` are for validation, rows without a split or of `train` for
    training, and others (`test`) for neither. Where a table has no rows for validation, rows whose id falls into a
    fixed share of all hashes are held out of training: the same ones in each stage's table, and at least one.

    Attributes:
        share: share of the hashes that is held out; 0 where the corpus has rows for validation.
    """

    share: float

    def is_valid(self, example_id: str, split: str | None) -> bool:
        """Return whether a row is for validation."""
        if split in VALID_SPLITS:
            return True
        return split in TRAIN_SPLITS and hashed(example_id) < self.share

    def is_train(self, example_id: str, split: str | None) -> bool:
        """Return whether a row is for training."""
        return split in TRAIN_SPLITS and not self.is_valid(example_id, split)


def hold_out(corpus: Corpus, table: str, share: float, fed_by: str = "speech") -> Holdout:
    """Return which rows of a table are held out.

    Args:
        corpus: the corpus.
        table: a training table.
        share: fraction to hold out where the corpus itself has no rows for validation.
        fed_by: what the table's examples are made from, for the message.

    Raises:
        EchoxError: the table has not one row to train on and one to validate on.
    """
    files = corpus.contents(table)
    counts = [group for contents in files for group in contents.groups]
    train, valid = (sum(group.train for group in counts), sum(group.valid for group in counts))
    if valid and not train:
        problem = f"table {table!r} has {valid} examples to validate on and none to train on"
        raise EchoxError(f"{corpus.version.uri}: {problem}; build the corpus with {fed_by} of the split train")
    if valid:
        return Holdout(0.0)
    if train < 2:
        problem = f"table {table!r} has {train} examples; training needs two, one of them to validate on"
        raise EchoxError(f"{corpus.version.uri}: {problem}; build the corpus from more {fed_by}")
    lowest = min(contents.lowest for contents in files if contents.lowest is not None)
    return Holdout(max(share, nextafter(lowest, 1.0)))
