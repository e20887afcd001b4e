"""A corpus version as training sees it: the files of a table, its words, its texts, and what is held out."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from echox.errors import EchoxError
from storage.artifacts import get_artifact
from storage.manifests import Manifest, resolve
from storage.schemas import TRAINING
from storage.store import Store
from storage.tables import read_table
from unitlang.language.unit_language import UnitLanguage

TRAIN_SPLITS = frozenset({None, "train"})
VALID_SPLITS = frozenset({"valid", "validation", "dev"})
TEXT_COLUMNS = {"s2t": ("prompt", "transcript", "response"), "t2c": ("text",), "echo": ("response",)}
"""Columns with text that a language model reads or writes; those of `echo` that `s2t` has too are left out."""


@dataclass(frozen=True)
class Corpus:
    """One version of a corpus, open for reading.

    Attributes:
        store: where it is.
        manifest: what it consists of.
    """

    store: Store
    manifest: Manifest

    @classmethod
    def open(cls, uri: str) -> Self:
        """The corpus at STORE or STORE@VERSION.

        Raises:
            StorageError: there is none.
        """
        return cls(*resolve(uri))

    @property
    def fingerprints(self) -> dict[str, str]:
        """Those of the quantizer and of the unit language: what models of one corpus must share."""
        return {kind: self.manifest.artifacts[kind].fingerprint for kind in ("quantizer", "unit_language")}

    @cached_property
    def unit_language(self) -> UnitLanguage:
        """The unit language, whose words are T2C's and Echo's targets."""
        return UnitLanguage.load(get_artifact(self.store, "unit_language", self.fingerprints["unit_language"]))

    def paths(self, table: str) -> list[str]:
        """Paths in the store of a training table's files, those of this version only, in its order."""
        return [file.path for file in self.manifest.files(table)]

    def rows(self, table: str) -> int:
        """Rows of a training table."""
        return sum(file.rows for file in self.manifest.files(table))

    def texts(self) -> Iterator[str]:
        """All texts of the training tables, in the order of the files."""
        for table in TRAINING:
            for path in self.paths(table):
                columns = read_table(self.store, path, TEXT_COLUMNS[table])
                for name in TEXT_COLUMNS[table]:
                    yield from (text for text in columns[name].to_pylist() if text)


@dataclass(frozen=True)
class Holdout:
    """Which rows of a table are for validation.

    Rows of the splits `valid`, `validation` and `dev` are, and rows without a split or of `train` are for training;
    others (`test`) for neither. Where a table has no rows for validation, those whose id falls into a fixed share of
    all hashes are taken from training: the same ones in each stage's table, and at least one.

    Attributes:
        share: of the hashes that are held out; 0 where the corpus has rows for validation.
        extra: the id that is held out where the share has none.
    """

    share: float
    extra: str | None = None

    def is_valid(self, example_id: str, split: str | None) -> bool:
        """Whether a row is for validation."""
        if split in VALID_SPLITS:
            return True
        return split in TRAIN_SPLITS and (_hash(example_id) < self.share or example_id == self.extra)

    def is_train(self, example_id: str, split: str | None) -> bool:
        """Whether a row is for training."""
        return split in TRAIN_SPLITS and not self.is_valid(example_id, split)


def hold_out(corpus: Corpus, table: str, share: float) -> Holdout:
    """Decides what is held out of a table; reads its ids and splits.

    Args:
        corpus: the corpus.
        table: a training table.
        share: fraction that is held out where the corpus itself has no rows for validation.

    Raises:
        EchoxError: fewer than one row to train on and one to validate on.
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
        raise EchoxError(f"{corpus.manifest.uri}: {problem}; build the corpus from more speech")
    lowest = min(ids, key=_hash)
    return Holdout(share, None if _hash(lowest) < share else lowest)


def _hash(example_id: str) -> float:
    """A number in 0..1 that depends on the id alone."""
    return int.from_bytes(hashlib.sha256(example_id.encode()).digest()[:8]) / 2**64
