"""From training shards to batches, by fairseq2's data pipeline.

Every worker reads all row groups, makes the same batches of compressed examples, and decodes only its own, every n-th.
So the batches of a step do not depend on the number of workers, and one worker that accumulates two batches learns what
two workers learn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypedDict

import numpy as np
import pyarrow as pa

from echox.data.config import DataConfig
from echox.data.corpus import Corpus, Holdout
from echox.data.reading import ExampleT, Reading
from echox.errors import EchoxError
from echox.native import load_libsndfile
from storage.tables import num_row_groups, read_row_group

load_libsndfile()

from fairseq2.data.data_pipeline import DataPipeline, DataPipelineBuilder, read_sequence  # noqa: E402

RowGroup = tuple[str, int]
"""Path of a file, and the number of a row group in it."""
Keep = Callable[[str, str | None], bool]
"""Whether the row of an example id and a split is wanted."""


class Item(TypedDict):
    """An example with the length by which it is put into a bucket."""

    length: int
    example: Any


GROWTH = 1.15
"""Ratio of the longest lengths of neighbouring buckets: at most 13 % of a batch is padding."""
SHORTEST = 16
"""Longest length of the first bucket."""
HOPELESS = 100_000
"""Training fails after this many examples if all of them were too long."""


@dataclass(frozen=True)
class Worker:
    """One of the workers that share the batches.

    Attributes:
        rank: the worker gets the batches whose number is `rank` modulo `workers`.
        workers: number of workers.
    """

    rank: int = 0
    workers: int = 1


class LengthLimit:
    """A filter that skips and counts examples that are too long.

    Attributes:
        skipped: number of examples that were too long so far.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._kept = 0
        self.skipped = 0

    def __call__(self, item: Item) -> bool:
        """Return whether to keep an item.

        Raises:
            EchoxError: the first 100,000 examples were all too long.
        """
        if item["length"] <= self._longest:
            self._kept += 1
            return True
        self.skipped += 1
        if not self._kept and self.skipped >= HOPELESS:
            raise EchoxError(f"data.max_length {self._longest}: {HOPELESS} examples in a row are longer; raise it")
        return False


class Epochs:
    """An endless list of all row groups, in another random order in each epoch."""

    def __init__(self, groups: Sequence[RowGroup], seed: int) -> None:
        self._groups = groups
        self._seed = seed

    def __getitem__(self, number: int) -> RowGroup:
        epoch, position = divmod(number, len(self._groups))
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._groups))
        return self._groups[order[position]]


@dataclass(frozen=True)
class Source(Generic[ExampleT]):
    """The source of a worker's batches.

    Attributes:
        corpus: corpus version.
        reading: how the stage reads its table.
        holdout: the held-out rows.
        config: settings of the batches.
        worker: the worker that gets the batches.
    """

    corpus: Corpus
    reading: Reading[ExampleT]
    holdout: Holdout
    config: DataConfig
    worker: Worker = Worker()

    def training(self, seed: int, limit: LengthLimit) -> DataPipeline:
        """Return endless batches, shuffled anew in each epoch; `limit` counts the examples that are too long."""
        epochs = Epochs(self._row_groups(), seed)
        # Not `repeat`: saved between two epochs, it is restored as empty (fairseq2 0.8.1).
        groups = DataPipeline.count().map(epochs.__getitem__)
        items = self._items(groups, self.holdout.is_train, limit).shuffle(self.config.shuffle_rows, seed)
        return self._collated(self._bucketed(items).shard(self.worker.rank, self.worker.workers))

    def validation(self) -> DataPipeline:
        """Return the batches of a validation, always the same; some workers may get one more than others."""
        limit = LengthLimit(self.config.max_length)
        items = self._items(read_sequence(self._row_groups()), self.holdout.is_valid, limit)
        batches = self._bucketed(items)
        if self.config.valid_batches is not None:
            batches = batches.take(self.config.valid_batches)
        return self._collated(batches.shard(self.worker.rank, self.worker.workers, allow_uneven=True))

    def _row_groups(self) -> list[RowGroup]:
        store, paths = self.corpus.store, self.corpus.paths(self.reading.table)
        return [(path, group) for path in paths for group in range(num_row_groups(store, path))]

    def _items(self, groups: DataPipelineBuilder, keep: Keep, limit: LengthLimit) -> DataPipelineBuilder:
        """Return a builder of examples with their lengths, row by row."""
        columns = ["example_id", "split", *self.reading.columns]

        def rows(group: RowGroup) -> DataPipeline:
            table = read_row_group(self.corpus.store, *group, columns)
            keys = zip(table["example_id"].to_pylist(), table["split"].to_pylist(), strict=True)
            wanted = [index for index, key in enumerate(keys) if keep(*key)]
            return read_sequence(wanted).map(lambda index: self._item(table, index)).and_return()

        return groups.yield_from(rows).filter(limit)

    def _item(self, table: pa.Table, index: int) -> Item:
        example = self.reading.example({name: table[name][index].as_py() for name in self.reading.columns})
        return {"length": example.length, "example": example}

    def _bucketed(self, items: DataPipelineBuilder) -> DataPipelineBuilder:
        return items.bucket_by_length(bucket_sizes(self.config), selector="length")

    def _collated(self, batches: DataPipelineBuilder) -> DataPipeline:
        def collate(items: list[Item]) -> object:
            return self.reading.collate([item["example"] for item in items])

        made = batches.map(collate, num_parallel_calls=self.config.threads)
        return made.prefetch(self.config.prefetch).and_return()


def bucket_sizes(config: DataConfig) -> list[tuple[int, int]]:
    """Return (examples, longest length) of each bucket, so that no batch has more than `max_tokens` positions."""
    lengths = [min(SHORTEST, config.max_length)]
    while lengths[-1] < config.max_length:
        lengths.append(min(config.max_length, int(lengths[-1] * GROWTH) + 1))
    return [(config.max_tokens // length, length) for length in lengths]
