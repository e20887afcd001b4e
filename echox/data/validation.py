"""The batches of a validation: planned from all columns but the audio, of which each worker then reads its share."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from typing import Generic, NamedTuple

from echox.data.buckets import Buckets
from echox.data.config import DataConfig
from echox.data.corpus import Corpus, Holdout, RowGroup, side_by_side
from echox.data.reading import Batch, ExampleT, Reading
from echox.data.rows import LOADERS, NumberedRow, read_rows
from echox.data.worker import Worker
from unitlang.ahead import ahead, run_ahead


class Spot(NamedTuple):
    """Where an example comes from: the position of its row group among those of the validation, and its row there."""

    group: int
    row: int


@dataclass
class ValidationBatches(Generic[ExampleT]):
    """The batches of one worker; iterating gives the same ones each time.

    Attributes:
        corpus: corpus version.
        reading: how the stage reads its table.
        holdout: the held-out rows.
        config: settings of the batches.
        worker: the worker.
    """

    corpus: Corpus
    reading: Reading[ExampleT]
    holdout: Holdout
    config: DataConfig
    worker: Worker
    _kept: list[list[ExampleT]] | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches, made ahead in threads.

        Raises:
            CorruptStore: a file is missing or damaged.
            StorageError: the store does not answer or refuses.
        """
        jobs = (partial(self.reading.collate, examples) for examples in ahead(self._examples(), 1))
        yield from run_ahead(jobs, threads=self.config.threads, depth=self.config.prefetch)

    def _examples(self) -> Iterator[list[ExampleT]]:
        """Yield the examples of each batch; a validation of limited length is read once and kept."""
        if self._kept is not None:
            yield from self._kept
        elif self.config.valid_batches is None:
            yield from self._read()
        else:
            read: list[list[ExampleT]] = []
            for examples in self._read():
                read.append(examples)
                yield examples
            self._kept = read

    def _read(self) -> Iterator[list[ExampleT]]:
        """Read each row group with examples of this worker once, and yield the examples of its batches."""
        groups, batches = self._groups, self._own
        wanted: dict[int, set[int]] = {}
        for spot in (spot for batch in batches for spot in batch):
            wanted.setdefault(spot.group, set()).add(spot.row)
        jobs = (partial(self._rows, groups[number], frozenset(rows)) for number, rows in wanted.items())
        coming = zip(wanted, run_ahead(jobs, threads=LOADERS, depth=LOADERS), strict=True)
        held: dict[Spot, ExampleT] = {}
        for batch in batches:
            while not held.keys() >= set(batch):
                number, rows = next(coming)
                held |= {Spot(number, row): self.reading.example(values) for row, values in rows}
            yield [held.pop(spot) for spot in batch]

    @cached_property
    def _own(self) -> list[list[Spot]]:
        """The batches of this worker: neighbours, because they come from the same row groups."""
        batches = list(islice(self._planned(), self.config.valid_batches))
        first, end = (rank * len(batches) // self.worker.workers for rank in (self.worker.rank, self.worker.rank + 1))
        return batches[first:end]

    @cached_property
    def _groups(self) -> list[RowGroup]:
        """The row groups that may hold rows for validation."""
        groups = self.corpus.row_groups(self.reading.table)
        return [group for group in groups if group.counts.valid or (self.holdout.share and group.counts.train)]

    def _planned(self) -> Iterator[list[Spot]]:
        """Yield the batches of all workers."""
        buckets: Buckets[Spot] = Buckets(self.config)
        for number, rows in enumerate(side_by_side(partial(self._lengths, group) for group in self._groups)):
            for row, length in rows:
                if length <= self.config.max_length and (batch := buckets.put(length, Spot(number, row))):
                    yield batch
        yield from buckets.overdue(lambda *_: True)

    def _lengths(self, group: RowGroup) -> list[tuple[int, int]]:
        """Number and length of the rows of a row group that are for validation."""
        columns = [name for name in self.reading.columns if name not in self.reading.audio]
        rows = read_rows(self.corpus.store, group, columns, self._is_valid, self.reading.beside)
        return [(number, self.reading.length(values)) for number, values in rows]

    def _is_valid(self, number: int, example_id: str, split: str | None) -> bool:
        del number
        return self.holdout.is_valid(example_id, split)

    def _rows(self, group: RowGroup, only: frozenset[int]) -> list[NumberedRow]:
        store, reading = self.corpus.store, self.reading
        return read_rows(store, group, reading.columns, lambda number, *_: number in only, reading.beside)
