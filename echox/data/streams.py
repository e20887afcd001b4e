"""Streams of batches: each reads a share of the row groups and depends on nothing else.

All row groups, in another random order in each epoch, are dealt to the streams in turn. A stream shuffles the rows of
its row group, mixes them with those before in a small buffer, and puts examples of similar length together. What it
holds at any moment is named by row group and row, so a stream goes on from a state of a few kilobytes: it reads these
rows again.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import numpy as np

from echox.data.buckets import Buckets
from echox.data.config import DataConfig
from echox.data.corpus import Corpus, Holdout, RowGroup
from echox.data.reading import ExampleT, Reading
from echox.data.rows import NumberedRow, read_rows
from echox.errors import EchoxError

GROUPS_OF_A_STREAM = 4
"""Fewest row groups of a stream in an epoch; smaller tables have fewer streams."""
PATIENCE = 256
"""A bucket that needs more than this many times its size of further examples to fill becomes a batch as it is: lengths
that rare must not keep old row groups alive."""
HOPELESS = 10_000
"""Training fails after this many examples of a stream if all of them were too long."""
T = TypeVar("T")


class Epochs(Generic[T]):
    """An endless list of all row groups, in another random order in each epoch."""

    def __init__(self, groups: Sequence[T], seed: int) -> None:
        self._groups = groups
        self._seed = seed

    def __getitem__(self, turn: int) -> T:
        epoch, position = divmod(turn, len(self._groups))
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._groups))
        return self._groups[order[position]]


class Place(NamedTuple):
    """Where an example comes from, and since when it waits in a bucket, in examples of the stream.

    Attributes:
        turn: position in the endless list of row groups.
        row: row in the row group.
        since: 0 in the shuffle buffer.
    """

    turn: int
    row: int
    since: int


class Held(NamedTuple):
    """An example that a stream holds."""

    place: Place
    example: Any


class StreamState(TypedDict):
    """Where a stream is.

    Attributes:
        given: batches so far.
        turn: position of its row group in the endless list.
        done: rows of it that have been taken, in their shuffled order.
        seen: examples so far that were put into buckets.
        buffer, waiting: three numbers for each example in the shuffle buffer and in the buckets: those of `Place`.
    """

    given: int
    turn: int
    done: int
    seen: int
    buffer: list[int]
    waiting: list[int]


@dataclass(frozen=True)
class Plan(Generic[ExampleT]):
    """Settings that all streams of a training have in common.

    Attributes:
        corpus: corpus version.
        reading: how the stage reads its table.
        holdout: the held-out rows.
        config: settings of the batches.
        groups: the row groups with rows for training.
        seed: of the order.
    """

    corpus: Corpus
    reading: Reading[ExampleT]
    holdout: Holdout
    config: DataConfig
    groups: Sequence[RowGroup]
    seed: int

    @cached_property
    def streams(self) -> int:
        """Number of streams: the largest divisor of `streams` with which each has a few row groups."""
        most = max(1, len(self.groups) // GROUPS_OF_A_STREAM)
        wanted = self.config.streams
        return max(number for number in range(1, min(wanted, most) + 1) if wanted % number == 0)

    @cached_property
    def buffer(self) -> int:
        """Examples in the shuffle buffer of one stream, at most those that it reads in an epoch."""
        rows = sum(group.counts.train for group in self.groups)
        return max(1, min(self.config.shuffle_rows, rows) // self.streams)

    def group(self, turn: int) -> RowGroup:
        """Return the row group at a position of the endless list."""
        return Epochs(self.groups, self.seed)[turn]

    def rows(self, group: RowGroup, only: frozenset[int] | None = None) -> list[NumberedRow]:
        """Read the rows of a row group that are for training, or only some of them.

        Raises:
            CorruptStore: its file is missing or damaged.
            StorageError: the store does not answer or refuses.
        """

        def wanted(number: int, example_id: str, split: str | None) -> bool:
            return self.holdout.is_train(example_id, split) if only is None else number in only

        return read_rows(self.corpus.store, group, self.reading.columns, wanted, self.reading.beside)


class Stream(Generic[ExampleT]):
    """One endless stream of batches.

    Attributes:
        skipped: examples since the batch before the last one that were too long.
    """

    def __init__(self, plan: Plan[ExampleT], number: int, pool: Executor, state: StreamState | None = None) -> None:
        """Open a stream.

        Args:
            plan: what all streams have in common.
            number: number of the stream.
            pool: reads row groups.
            state: where it goes on; None: at its begin.
        """
        self._plan = plan
        self._pool = pool
        self._state = StreamState(given=0, turn=number, done=0, seen=0, buffer=[], waiting=[])
        if state is not None:
            self._state.update(state)
        self._buffer: list[Held] = []
        self._buckets: Buckets[Held] = Buckets(plan.config)
        self._reading: dict[int, Future[list[NumberedRow]]] = {}
        self._again: dict[RowGroup, Future[list[NumberedRow]]] = {}
        self._batches = self._made()
        self.skipped = 0

    @property
    def given(self) -> int:
        """Number of batches so far."""
        return self._state["given"]

    def read_ahead(self) -> None:
        """Begin to read what the first batch needs."""
        state, plan = self._state, self._plan
        self._read(state["turn"])
        self._again[plan.group(state["turn"])] = self._reading[state["turn"]]
        wanted: dict[RowGroup, set[int]] = {}
        for place in (*_places(state["buffer"]), *_places(state["waiting"])):
            wanted.setdefault(plan.group(place.turn), set()).add(place.row)
        for group in wanted.keys() - self._again.keys():
            self._again[group] = self._pool.submit(plan.rows, group, frozenset(wanted[group]))

    def batch(self) -> list[ExampleT]:
        """Return the next batch of examples.

        Raises:
            EchoxError: the first examples of the stream were all too long.
            CorruptStore: a file is missing or damaged.
            StorageError: the store does not answer or refuses.
        """
        self.skipped = 0
        examples = [held.example for held in next(self._batches)]
        self._state["given"] += 1
        return examples

    def state(self) -> StreamState:
        """Return where the stream is after the last batch."""
        return {
            **self._state,
            "buffer": [part for held in self._buffer for part in held.place],
            "waiting": [part for held in self._buckets.waiting() for part in held.place],
        }

    def _made(self) -> Iterator[list[Held]]:
        state = self._state
        self._take_up()
        while True:
            yield from self._of_row_group(state["turn"])
            yield from self._buckets.overdue(self._is_overdue)
            state["turn"] += self._plan.streams
            state["done"] = 0

    def _of_row_group(self, turn: int) -> Iterator[list[Held]]:
        """Yield the batches that the rest of a row group completes; the next one is read before it ends."""
        self._read(turn)
        rows: list[NumberedRow | None] = [*self._reading.pop(turn).result()]
        rng = np.random.default_rng((self._plan.seed, turn, 0))
        order, spots = rng.permutation(len(rows)), rng.integers(self._plan.buffer, size=len(rows))
        for number in range(self._state["done"], len(rows)):
            self._state["done"] = number + 1
            if 4 * (len(rows) - number) <= len(rows) + 4:
                self._read(turn + self._plan.streams)
            row, rows[order[number]] = rows[order[number]], None  # its audio is not kept twice
            if row is not None and (batch := self._put(turn, row, int(spots[number]))):
                yield batch

    def _put(self, turn: int, row: NumberedRow, spot: int) -> list[Held] | None:
        """Put a row at a spot of the shuffle buffer, what was there into its bucket; return the batch that is full."""
        number, values = row
        example = self._plan.reading.example(values)
        if example.length > self._plan.config.max_length:
            self._skip()
            return None
        held = Held(Place(turn, number, 0), example)
        if len(self._buffer) < self._plan.buffer:
            self._buffer.append(held)
            return None
        (place, example), self._buffer[spot] = self._buffer[spot], held
        self._state["seen"] += 1
        return self._buckets.put(example.length, Held(place._replace(since=self._state["seen"]), example))

    def _skip(self) -> None:
        self.skipped += 1
        if self.skipped >= HOPELESS and not self._buffer:
            longest = self._plan.config.max_length
            raise EchoxError(f"data.max_length {longest}: {HOPELESS} examples in a row are longer; raise it")

    def _is_overdue(self, capacity: int, first: Held) -> bool:
        return self._state["seen"] - first.place.since >= PATIENCE * capacity

    def _read(self, turn: int) -> None:
        if turn not in self._reading:
            self._reading[turn] = self._pool.submit(self._plan.rows, self._plan.group(turn))

    def _take_up(self) -> None:
        """Hold again what the stream held in its shuffle buffer and in its buckets when its state was saved."""
        rows = {group: dict(future.result()) for group, future in self._again.items()}
        self._again.clear()

        def held(place: Place) -> Held:
            return Held(place, self._plan.reading.example(rows[self._plan.group(place.turn)][place.row]))

        self._buffer += map(held, _places(self._state["buffer"]))
        for again in map(held, _places(self._state["waiting"])):
            self._buckets.put(again.example.length, again)


def _places(numbers: list[int]) -> list[Place]:
    return [Place(*numbers[first : first + 3]) for first in range(0, len(numbers), 3)]
