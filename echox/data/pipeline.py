"""From training shards to batches.

Batches are taken from `data.streams` streams in turn, and batch number n goes to worker n modulo their number. So the
batches of a step do not depend on the number of workers, and one worker that accumulates two batches learns what two
workers learn. Each worker reads the streams that its batches come from.
"""

from collections.abc import Generator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import gcd
from typing import Any, Generic, NamedTuple, Self, cast

from echox.data.config import DataConfig
from echox.data.corpus import Corpus, Holdout
from echox.data.reading import Batch, ExampleT, Reading
from echox.data.rows import LOADERS
from echox.data.streams import Plan, Stream, StreamState
from echox.data.validation import ValidationBatches
from echox.data.worker import ALONE, Worker
from echox.errors import EchoxError
from unitlang.ahead import ahead, run_ahead


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
    worker: Worker = ALONE

    def training(self, seed: int) -> "TrainingBatches[ExampleT]":
        """Return endless batches, shuffled anew in each epoch."""
        groups = [group for group in self.corpus.row_groups(self.reading.table) if group.counts.train]
        plan = Plan(self.corpus, self.reading, self.holdout, self.config, groups, seed)
        return TrainingBatches(plan, self.worker)

    def validation(self) -> ValidationBatches[ExampleT]:
        """Return the batches of a validation, always the same; some workers may get one more than others."""
        return ValidationBatches(self.corpus, self.reading, self.holdout, self.config, self.worker)


class Formed(NamedTuple):
    """The examples of a batch, its number among those of all workers, and what is known after it.

    Attributes:
        skipped: examples that were too long, since the batch before it in its stream.
        stream: number of the stream.
        state: that of the stream.
    """

    examples: list[Any]
    number: int
    skipped: int
    stream: int
    state: StreamState


class TrainingBatches(Generic[ExampleT], Iterator[Batch]):
    """The batches of one worker, made ahead in threads.

    Attributes:
        skipped: examples that were too long, up to the last batch, since the batches were opened.
    """

    def __init__(self, plan: Plan[ExampleT], worker: Worker) -> None:
        self._plan = plan
        self._worker = worker
        self._streams = plan.streams
        self._next = worker.rank
        self._states: dict[int, StreamState] = {}
        self._made: Generator[tuple[Batch, Formed]] | None = None
        self.skipped = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        """Return the next batch.

        Raises:
            EchoxError: the examples are all too long, or the state is that of another number of streams.
            CorruptStore: a file is missing or damaged.
            StorageError: the store does not answer or refuses.
        """
        if self._made is None:
            self._check_streams()
            self._made = self._batches()
        batch, formed = next(self._made)
        self._next = formed.number + self._worker.workers
        self._states[formed.stream] = formed.state
        self.skipped += formed.skipped
        return batch

    @property
    def streams(self) -> list[int]:
        """Numbers of the streams that the worker's batches come from, in the order of need."""
        streams, workers = self._plan.streams, self._worker.workers
        return [(self._next + turn * workers) % streams for turn in range(streams // gcd(workers, streams))]

    @property
    def times_read(self) -> int:
        """How often the workers together read each row group in an epoch: more than once if they share streams."""
        return self._worker.workers // gcd(self._worker.workers, self._plan.streams)

    def state_dict(self) -> dict[str, object]:
        """Return where the batches are, as plain values."""
        return {"streams": self._plan.streams, "next": self._next, "states": dict(self._states)}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on where a state was saved; the next batch is refused if its number of streams was another."""
        self._streams = cast("int", state["streams"])
        self._next = cast("int", state["next"])
        self._states = dict(cast("dict[int, StreamState]", state["states"]))
        self.close()

    def close(self) -> None:
        """Stop the threads; the next batch starts them again."""
        if self._made is not None:
            self._made.close()
        self._made = None

    def _check_streams(self) -> None:
        if self._streams != self._plan.streams:
            problem = f"the checkpoint's examples come from {self._streams} streams, not from {self._plan.streams}"
            raise EchoxError(f"{problem}; resume with the `data` settings and the corpus that the run began with")

    def _batches(self) -> Generator[tuple[Batch, Formed]]:
        with _pool() as pool:
            config = self._plan.config
            jobs = (partial(self._collated, formed) for formed in ahead(self._formed(pool), 1))
            yield from run_ahead(jobs, threads=config.threads, depth=config.prefetch)

    def _formed(self, pool: Executor) -> Iterator[Formed]:
        streams = {number: Stream(self._plan, number, pool, self._states.get(number)) for number in self.streams}
        waiting = iter(streams.values())
        for stream in islice(waiting, LOADERS):
            stream.read_ahead()
        number = self._next
        while True:
            ordinal, of = divmod(number, self._plan.streams)
            examples: list[ExampleT] = []
            while streams[of].given <= ordinal:  # some go to other workers if these share the stream
                examples = streams[of].batch()
            for stream in islice(waiting, 1):
                stream.read_ahead()
            yield Formed(examples, number, streams[of].skipped, of, streams[of].state())
            number += self._worker.workers

    def _collated(self, formed: Formed) -> tuple[Batch, Formed]:
        return self._plan.reading.collate(formed.examples), formed


@contextmanager
def _pool() -> Generator[Executor]:
    pool = ThreadPoolExecutor(LOADERS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
