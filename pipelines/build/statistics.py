"""Compute the statistics of a corpus version by dataset and overall: hours, utterances, rejects and compression."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import chain
from operator import add
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.engine.build_step import TableStep
from pipelines.reading import read_ahead
from pipelines.records import Receipts, SharedAudio, VersionStatistics, statistics_of
from pipelines.steps import steps as registered
from storage.errors import CorruptStore
from storage.receipts import DataFile, Receipt
from storage.schemas import TRAINING
from storage.store import Store
from storage.tables import read_table
from unitlang.frames import SAMPLE_RATE, FrameGrid
from unitlang.language.compression import CompressionStats
from unitlang.language.unit_language import UnitLanguage

UNKNOWN_LICENCE = "unknown"
"""Stands for the licence of utterances whose source states none."""


@dataclass(frozen=True)
class DatasetStatistics:
    """Counts of one dataset; sums of them are exact and do not depend on the order.

    Attributes:
        compression: counts of frames, runs and words.
        utterances: number of utterances with units.
        samples: length of these utterances in samples at 16 kHz.
        rejects: number of rejects by reason.
        licences: samples by licence, of the utterances whose licence is known.
    """

    compression: CompressionStats
    utterances: int = 0
    samples: int = 0
    rejects: Counter[str] = field(default_factory=Counter[str])
    licences: Counter[str] = field(default_factory=Counter[str])

    @property
    def hours(self) -> float:
        """Hours of speech with units."""
        return self.samples / SAMPLE_RATE / 3600

    @property
    def licence_hours(self) -> dict[str, float]:
        """Hours by licence, the most hours first and those of `UNKNOWN_LICENCE` last."""
        counts = self.licences + Counter({UNKNOWN_LICENCE: self.samples - self.licences.total()})
        order = sorted(counts, key=lambda name: (name == UNKNOWN_LICENCE, -counts[name], name))
        return {name: counts[name] / SAMPLE_RATE / 3600 for name in order}

    def __add__(self, other: Self) -> "DatasetStatistics":
        return DatasetStatistics(
            self.compression + other.compression,
            self.utterances + other.utterances,
            self.samples + other.samples,
            self.rejects + other.rejects,
            self.licences + other.licences,
        )

    def __sub__(self, other: Self) -> "DatasetStatistics":
        """The counts without those of a part of the speech.

        Raises:
            ValueError: they do not hold that part, because another program counted in another way.
        """
        left = DatasetStatistics(
            self.compression - other.compression,
            self.utterances - other.utterances,
            self.samples - other.samples,
            self.rejects - other.rejects,
            self.licences - other.licences,
        )
        counters = ((self.rejects, other.rejects), (self.licences, other.licences))
        if left.smallest < 0 or not all(other <= whole for whole, other in counters):
            raise ValueError("these statistics do not hold those that are taken away")
        return left

    @property
    def smallest(self) -> int:
        """The smallest count of speech."""
        words = int(self.compression.word_counts_V.min(initial=0))
        return min(self.utterances, self.samples, self.compression.num_frames, self.compression.num_runs, words)

    @property
    def empty(self) -> bool:
        """Whether nothing was counted."""
        return not (self.utterances or self.rejects or self.compression.num_frames)

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON values; without licences, where an older program wrote none, if none is known."""
        return {
            "utterances": self.utterances,
            "samples": self.samples,
            "rejects": dict(sorted(self.rejects.items())),
            "compression": self.compression.to_dict(),
            **({"licences": dict(sorted(self.licences.items()))} if self.licences else {}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The statistics from the values of `to_dict`."""
        compression = CompressionStats.from_dict(values["compression"])
        rejects, licences = Counter(values["rejects"]), Counter(values.get("licences", {}))
        return cls(compression, values["utterances"], values["samples"], rejects, licences)


ByDataset = dict[str, DatasetStatistics]


@dataclass(frozen=True)
class Coding:
    """The unit language and frame grid with which words and frames are counted."""

    language: UnitLanguage
    grid: FrameGrid

    def counts(self, num_frames: int, num_runs: int, words_W: NDArray[np.integer]) -> CompressionStats:
        """Counts of the concatenated utterances with these words, shape (W,)."""
        return CompressionStats.of(num_frames, num_runs, words_W, self.language.word_lengths, self.grid)

    def nothing(self) -> CompressionStats:
        """Counts of no speech."""
        return self.counts(0, 0, np.zeros(0, np.int32))


Count = Callable[[Store, DataFile, Coding], ByDataset]


def from_version(statistics: Mapping[str, Any]) -> ByDataset:
    """The typed statistics of a version, from its plain values.

    Raises:
        CorruptStore: a value is missing or is none that a build writes.
    """
    try:
        datasets = {name: DatasetStatistics.from_dict(values) for name, values in statistics["datasets"].items()}
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, MemoryError) as error:
        fault = f"{type(error).__name__}: {error}"
        raise CorruptStore(f"statistics of the version: not those that a build writes ({fault})") from error
    if not datasets:
        raise CorruptStore("statistics of the version: not those that a build writes (no dataset)")
    return datasets


def overall(datasets: ByDataset) -> DatasetStatistics:
    """The sum over all datasets."""
    return reduce(add, datasets.values())


def counted_steps(steps: Receipts) -> list[str]:
    """Names of a version's steps whose tables are counted: those that write no training tables, which repeat others."""
    return [name for name in registered() if name in steps and not {*_tables(name)} & {*TRAINING}]


def gather(store: Store, receipts: Receipts, coding: Coding, base: ByDataset) -> ByDataset:
    """Add the statistics of the outputs of these receipts to `base`.

    Memory is bounded by the vocabulary and a few files, not by the corpus.

    Args:
        store: the corpus.
        receipts: receipts by step; the table of each file selects the way of counting (`COUNTS`).
        coding: the unit language and frame grid of the words.
        base: statistics of other receipts.

    Raises:
        StorageError: an output cannot be read from the store.
    """
    return merge(chain((base,), lengths(receipts, coding), _counted(store, chain(*receipts.values()), coding)))


def lengths(receipts: Receipts, coding: Coding) -> Iterator[ByDataset]:
    """Yield the lengths and licences of the speech with units, which stand in the receipts."""
    quantized = (receipt for step, of_step in receipts.items() if "units" in _tables(step) for receipt in of_step)
    return (_lengths(receipt, coding) for receipt in quantized)


def without(whole: ByDataset, part: ByDataset) -> ByDataset:
    """The statistics of what is left of some speech.

    Raises:
        ValueError: the whole does not hold the part.
    """
    if strange := part.keys() - whole.keys():
        raise ValueError(f"these statistics do not hold {', '.join(sorted(strange))}")
    left = {name: counts - part[name] if name in part else counts for name, counts in whole.items()}
    return {name: counts for name, counts in left.items() if not counts.empty}


def version_statistics(steps: Receipts, datasets: ByDataset, shared: list[SharedAudio]) -> VersionStatistics:
    """Statistics of a version.

    Args:
        steps: its receipts; examples and unused utterances are counted in those of `shard`.
        datasets: counts of its tables.
        shared: utterances with equal audio.
    """
    shards = [statistics_of(receipt) for receipt in steps.get("shard", ())]
    return VersionStatistics(
        entries=sum(receipt.rows_in for receipt in steps["ingest"]),
        datasets={name: statistics.to_dict() for name, statistics in datasets.items()},
        examples=_sum(shard.get("examples", {}) for shard in shards),
        unused=_sum(shard.get("unused", {}) for shard in shards),
        shared_audio=shared,
    )


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    return dict(sorted(sum(map(Counter[str], counts), Counter[str]()).items()))


def _tables(name: str) -> tuple[str, ...]:
    """Tables that a registered step writes."""
    step = registered()[name]
    return step.tables if issubclass(step, TableStep) else ()


def merge(parts: Iterable[ByDataset]) -> ByDataset:
    """Sum the statistics of each dataset."""
    total: ByDataset = {}
    for part in parts:
        for name, statistics in part.items():
            total[name] = total[name] + statistics if name in total else statistics
    return dict(sorted(total.items()))


def _counted(store: Store, receipts: Iterable[Receipt], coding: Coding) -> Iterator[ByDataset]:
    """Yield the counts of each file; few are held at a time, because each has arrays as long as the vocabulary."""
    files = (file for receipt in receipts for file in receipt.files if file.table in COUNTS)
    jobs = (partial(COUNTS[file.table], store, file, coding) for file in files)
    return read_ahead(jobs)


def _lengths(receipt: Receipt, coding: Coding) -> ByDataset:
    counted = statistics_of(receipt)
    totals, licences = counted.get("datasets", {}), counted.get("licences", {})
    return {
        name: DatasetStatistics(coding.nothing(), **counts, licences=Counter(licences.get(name, {})))
        for name, counts in totals.items()
    }


def _count_rejects(store: Store, file: DataFile, coding: Coding) -> ByDataset:
    return count_rejects(read_table(store, file.path, ["dataset", "reason"]), coding)


def count_rejects(table: pa.Table, coding: Coding) -> ByDataset:
    """Count rejects by their columns `dataset` and `reason`."""
    reasons: dict[str, Counter[str]] = {}
    for dataset, reason in zip(table["dataset"].to_pylist(), table["reason"].to_pylist(), strict=True):
        reasons.setdefault(dataset, Counter())[reason] += 1
    return {name: DatasetStatistics(coding.nothing(), rejects=counts) for name, counts in reasons.items()}


def _count_words(store: Store, file: DataFile, coding: Coding) -> ByDataset:
    return count_words(read_table(store, file.path, ["dataset", "words", "num_runs", "num_frames"]), coding)


def count_words(table: pa.Table, coding: Coding) -> ByDataset:
    """Count frames, runs and words by their columns and `dataset`."""
    counted: ByDataset = {}
    for name in table["dataset"].unique().to_pylist():
        part = table.filter(pc.field("dataset") == name)
        frames, runs = (int(part[column].to_numpy().sum()) for column in ("num_frames", "num_runs"))
        words_W = part["words"].combine_chunks().flatten().to_numpy()
        counted[name] = DatasetStatistics(coding.counts(frames, runs, words_W))
    return counted


COUNTS: Mapping[str, Count] = {"rejects": _count_rejects, "unit_language": _count_words}
"""Functions that count one file, by table; files of other tables are skipped."""
