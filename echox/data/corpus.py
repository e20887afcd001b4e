"""A corpus version as training reads it: files of a table, unit language, texts, and the held-out rows."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from echox.errors import EchoxError
from storage.artifacts import get_artifact
from storage.schemas import TRAINING
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version, resolve
from unitlang.language.unit_language import UnitLanguage

TRAIN_SPLITS = frozenset({None, "train"})
VALID_SPLITS = frozenset({"valid", "validation", "dev"})


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
        return [file.path for file in self.version.files(table)]

    def rows(self, table: str) -> int:
        """Return the number of rows of a training table."""
        return sum(file.rows for file in self.version.files(table))

    def texts(self, text_columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """Yield the texts of some columns, by training table, in the order of tables and files."""
        for table in TRAINING:
            names = text_columns.get(table, ())
            for path in self.paths(table) if names else ():
                columns = read_table(self.store, path, names)
                for name in names:
                    yield from (text for text in columns[name].to_pylist() if text)


@dataclass(frozen=True)
class Holdout:
    """The choice of a table's rows for validation.

    Rows of the splits `valid`, `validation` and `dev` are for validation, rows without a split or of `train` for
    training, and others (`test`) for neither. Where a table has no rows for validation, rows whose id falls into a
    fixed share of all hashes are held out of training: the same ones in each stage's table, and at least one.

    Attributes:
        share: share of the hashes that is held out; 0 where the corpus has rows for validation.
        extra: id that is held out where no id falls into the share.
    """

    share: float
    extra: str | None = None

    def is_valid(self, example_id: str, split: str | None) -> bool:
        """Return whether a row is for validation."""
        if split in VALID_SPLITS:
            return True
        return split in TRAIN_SPLITS and (_hash(example_id) < self.share or example_id == self.extra)

    def is_train(self, example_id: str, split: str | None) -> bool:
        """Return whether a row is for training."""
        return split in TRAIN_SPLITS and not self.is_valid(example_id, split)


def hold_out(corpus: Corpus, table: str, share: float, fed_by: str = "speech") -> Holdout:
    """Return which rows of a table are held out; reads its ids and splits.

    Args:
        corpus: the corpus.
        table: a training table.
        share: fraction to hold out where the corpus itself has no rows for validation.
        fed_by: what the table's examples are made from, for the message.

    Raises:
        EchoxError: the table has not one row to train on and one to validate on.
    """
    ids: list[str] = []
    for path in corpus.paths(table):
        columns = read_table(corpus.store, path, ["example_id", "split"])
        splits: Sequence[str | None] = columns["split"].to_pylist()
        if not VALID_SPLITS.isdisjoint(splits):
            return Holdout(0.0)
        ids += [
            name for name, split in zip(columns["example_id"].to_pylist(), splits, strict=True) if split in TRAIN_SPLITS
        ]
    if len(ids) < 2:
        problem = f"table {table!r} has {len(ids)} examples; training needs two, one of them to validate on"
        raise EchoxError(f"{corpus.version.uri}: {problem}; build the corpus from more {fed_by}")
    lowest = min(ids, key=_hash)
    return Holdout(share, None if _hash(lowest) < share else lowest)


def _hash(example_id: str) -> float:
    """Return a number in 0..1 that depends on the id alone."""
    return int.from_bytes(hashlib.sha256(example_id.encode()).digest()[:8]) / 2**64
