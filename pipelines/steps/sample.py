"""Choose the utterances for the two fits: a bounded, seeded sample that is stratified by dataset.

The priority of an utterance depends only on the seed and its id. Each dataset contributes its utterances of highest
priority until its share of the hours is full, so the sample depends neither on the order nor on the number of work
units.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

import pyarrow as pa

from pipelines.reading import read_ahead
from pipelines.records import UtteranceFile
from storage.store import Store
from storage.tables import read_table
from unitlang.frames import SAMPLE_RATE

PRUNE_FACTOR = 2.0
PIECE_SAMPLES = 600 * SAMPLE_RATE
"""Longer utterances are sampled in pieces of ten minutes, so that one alone cannot fill the sample or a worker."""


@dataclass(frozen=True, order=True)
class Candidate:
    """An utterance, or a piece of a long one, that may be in the sample; candidates of higher priority sort first."""

    priority: bytes
    file: int
    piece: "Piece"

    @property
    def samples(self) -> int:
        """Length in samples at 16 kHz."""
        return self.piece.samples


@dataclass(frozen=True, order=True)
class Piece:
    """Speech of the sample: row in a file of utterances, offset in the utterance and length in samples at 16 kHz."""

    row: int
    offset: int
    samples: int


class Stratum:
    """The candidates of highest priority of one dataset, up to a total length, which bounds the memory.

    Args:
        samples: total length in samples at 16 kHz.
    """

    def __init__(self, samples: int) -> None:
        self.limit = samples
        self.held = 0
        self.candidates: list[Candidate] = []

    def add(self, candidate: Candidate) -> None:
        """Add a candidate; drop those of low priority when too many are held."""
        self.candidates.append(candidate)
        self.held += candidate.samples
        if self.held > PRUNE_FACTOR * self.limit + candidate.samples:
            self.prune()

    def prune(self) -> None:
        """Keep the first candidates that fill the limit, at least one."""
        self.candidates.sort()
        kept, held = 0, 0
        while kept < len(self.candidates) and (held < self.limit or not kept):
            held += self.candidates[kept].samples
            kept += 1
        del self.candidates[kept:]
        self.held = held


def priority(seed: int, utterance_id: str) -> bytes:
    """Priority of an utterance: 16 pseudo-random bytes; smaller ones come first."""
    return blake2b(utterance_id.encode(), digest_size=16, salt=seed.to_bytes(16, "little")).digest()


def pieces(row: int, samples: int) -> Iterator[Piece]:
    """Yield the pieces of an utterance: the whole, or parts of ten minutes; `samples` is its length."""
    for offset in range(0, samples, PIECE_SAMPLES):
        yield Piece(row, offset, min(PIECE_SAMPLES, samples - offset))


def choose(
    store: Store, files: Sequence[UtteranceFile], dataset_samples: dict[str, int], hours: float, seed: int
) -> dict[int, list[Piece]]:
    """Choose the pieces of a sample; each dataset has a share in proportion to its length.

    Args:
        store: the corpus.
        files: files of the utterances to choose from.
        dataset_samples: length of each dataset in samples at 16 kHz.
        hours: length of the sample.
        seed: seed of the choice.

    Returns:
        the chosen pieces by position of their file in `files`.

    Raises:
        StorageError: a file cannot be read.
    """
    total = sum(dataset_samples.values())
    share = min(1.0, hours * 3600 * SAMPLE_RATE / total) if total else 0.0
    strata = {name: Stratum(round(share * samples)) for name, samples in dataset_samples.items()}
    columns_read = ["utterance_id", "dataset", "num_samples"]
    tables = read_tables(store, ((file.path, columns_read) for file in files))
    for position, table in enumerate(tables):
        columns = (table[name].to_pylist() for name in table.column_names)
        for row, (name, dataset, samples) in enumerate(zip(*columns, strict=True)):
            for piece in pieces(row, samples):
                key = priority(seed, f"{name}#{piece.offset}" if piece.offset else name)
                strata[dataset].add(Candidate(key, position, piece))
    return _by_file(strata.values())


def read_tables(store: Store, reads: Iterable[tuple[str, Sequence[str] | None]]) -> Iterator[pa.Table]:
    """Read tables in their order, several at a time.

    Args:
        store: the corpus.
        reads: paths of the tables, and the columns; None = all.

    Raises:
        StorageError: a table cannot be read.
    """
    jobs = (partial(read_table, store, path, columns) for path, columns in reads)
    return read_ahead(jobs)


def _by_file(strata: Iterable[Stratum]) -> dict[int, list[Piece]]:
    chosen: dict[int, list[Piece]] = {}
    for stratum in strata:
        stratum.prune()
        for candidate in stratum.candidates:
            chosen.setdefault(candidate.file, []).append(candidate.piece)
    return {file: sorted(chosen[file]) for file in sorted(chosen)}
