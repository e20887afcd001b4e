"""Facts of a corpus version: hours, utterances, rejects by reason, compression; per dataset and overall."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from itertools import chain
from operator import add
from typing import Any, Self

import numpy as np
import pyarrow.compute as pc

from storage.receipts import DataFile, Receipt
from storage.store import Store
from storage.tables import read_table
from unitlang.frames import SAMPLE_RATE
from unitlang.language.compression import CompressionStats
from unitlang.language.unit_language import UnitLanguage

READERS = 8
"""Files in memory at a time."""
Receipts = Mapping[str, Sequence[Receipt]]


@dataclass(frozen=True)
class DatasetStatistics:
    """Counts of one dataset; adding two of them is exact and in any order the same.

    Attributes:
        utterances: those with units.
        samples: their length in samples at 16 kHz.
        rejects: by reason.
        compression: frames, runs and words.
    """

    compression: CompressionStats
    utterances: int = 0
    samples: int = 0
    rejects: Counter[str] = field(default_factory=Counter[str])

    @property
    def hours(self) -> float:
        """Hours of speech with units."""
        return self.samples / SAMPLE_RATE / 3600

    def __add__(self, other: Self) -> "DatasetStatistics":
        return DatasetStatistics(
            self.compression + other.compression,
            self.utterances + other.utterances,
            self.samples + other.samples,
            self.rejects + other.rejects,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "utterances": self.utterances,
            "samples": self.samples,
            "rejects": dict(sorted(self.rejects.items())),
            "compression": self.compression.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        compression = CompressionStats.from_dict(values["compression"])
        return cls(compression, values["utterances"], values["samples"], Counter(values["rejects"]))


ByDataset = dict[str, DatasetStatistics]
Count = Callable[[Store, DataFile, UnitLanguage], ByDataset]


def from_manifest(statistics: Mapping[str, Any]) -> ByDataset:
    """The typed statistics of a manifest."""
    return {name: DatasetStatistics.from_dict(values) for name, values in statistics["datasets"].items()}


def overall(datasets: ByDataset) -> DatasetStatistics:
    """All datasets together."""
    return reduce(add, datasets.values())


def gather(store: Store, receipts: Receipts, language: UnitLanguage, base: ByDataset) -> ByDataset:
    """`base` and the statistics of the outputs of these receipts of `ingest`, `quantize` and `encode`.

    Memory is bounded by the vocabulary and a few files, not by the corpus.
    """
    lengths = (_lengths(receipt, language) for receipt in receipts["quantize"])
    return merge(chain((base,), lengths, _counted(store, receipts, language)))


def merge(parts: Iterable[ByDataset]) -> ByDataset:
    """Sum by dataset."""
    total: ByDataset = {}
    for part in parts:
        for name, statistics in part.items():
            total[name] = total[name] + statistics if name in total else statistics
    return dict(sorted(total.items()))


def _counted(store: Store, receipts: Receipts, language: UnitLanguage) -> Iterator[ByDataset]:
    """The counts of each file, a window of them under way at a time: each holds arrays as long as the vocabulary."""
    waiting: deque[Future[ByDataset]] = deque()
    with ThreadPoolExecutor(READERS) as pool:
        for count, file in _countable(receipts):
            waiting.append(pool.submit(count, store, file, language))
            if len(waiting) > READERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _countable(receipts: Receipts) -> Iterator[tuple[Count, DataFile]]:
    for receipt in chain(receipts["ingest"], receipts["quantize"]):
        yield from ((_count_rejects, file) for file in receipt.files if file.table == "rejects")
    for receipt in receipts["encode"]:
        yield from ((_count_words, file) for file in receipt.files)


def _empty(language: UnitLanguage) -> CompressionStats:
    return CompressionStats.of(0, 0, np.zeros(0, np.int32), language.word_lengths)


def _lengths(receipt: Receipt, language: UnitLanguage) -> ByDataset:
    totals = receipt.stats["datasets"]
    return {name: DatasetStatistics(_empty(language), **counts) for name, counts in totals.items()}


def _count_rejects(store: Store, file: DataFile, language: UnitLanguage) -> ByDataset:
    table = read_table(store, file.path, ["dataset", "reason"])
    reasons: dict[str, Counter[str]] = {}
    for dataset, reason in zip(table["dataset"].to_pylist(), table["reason"].to_pylist(), strict=True):
        reasons.setdefault(dataset, Counter())[reason] += 1
    return {name: DatasetStatistics(_empty(language), rejects=counts) for name, counts in reasons.items()}


def _count_words(store: Store, file: DataFile, language: UnitLanguage) -> ByDataset:
    table = read_table(store, file.path, ["dataset", "words", "num_runs", "num_frames"])
    counted: ByDataset = {}
    for name in table["dataset"].unique().to_pylist():
        part = table.filter(pc.field("dataset") == name)
        frames, runs = (int(part[column].to_numpy().sum()) for column in ("num_frames", "num_runs"))
        words_W = part["words"].combine_chunks().flatten().to_numpy()
        counted[name] = DatasetStatistics(CompressionStats.of(frames, runs, words_W, language.word_lengths))
    return counted
