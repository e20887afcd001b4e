"""Choose the utterances for the two fits: a bounded, seeded sample that is stratified by dataset.

The priority of an utterance depends only on the seed and its id. Each dataset contributes its utterances of highest
priority until its share of the hours is full, so the sample depends neither on the order nor on the number of work
units. Receipts of `ingest` name the speech that comes first, an eighth of all: a smaller sample is chosen without
reading a table.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

import pyarrow as pa

from pipelines.reading import read_ahead
from pipelines.records import CandidateRow, UtteranceRow, dataset_counts, statistics_of, utterance_files
from storage.receipts import Receipt
from storage.store import Store
from storage.tables import read_table
from unitlang.frames import SAMPLE_RATE

PRUNE_FACTOR = 2.0
FIRST = 32
"""Priorities whose first byte is below this are named in receipts."""
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

    def is_full_of_first(self) -> bool:
        """Whether candidates that receipts name fill the limit, so that no other can be chosen."""
        first = [candidate.samples for candidate in self.candidates if is_first(candidate.priority)]
        return bool(first) and sum(first) >= self.limit

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


def is_first(key: bytes) -> bool:
    """Whether a priority is one of the first eighth, which receipts name."""
    return key[0] < FIRST


def first_candidates(
    files: Iterable[Sequence[UtteranceRow]], seeds: Iterable[int]
) -> dict[str, dict[str, list[CandidateRow]]]:
    """The speech of a work unit of `ingest` that comes first in samples, by seed and dataset.

    Args:
        files: the rows of each file of utterances.
        seeds: seeds of the samples.
    """
    spoken = [(number, row, of_file[row]) for number, of_file in enumerate(files) for row in range(len(of_file))]
    found: dict[str, dict[str, list[CandidateRow]]] = {}
    for seed in sorted({*seeds}):
        of_seed = found.setdefault(str(seed), {})
        for file, row, utterance in spoken:
            for piece in pieces(row, utterance["num_samples"]):
                key = _key(seed, utterance["utterance_id"], piece)
                if is_first(key):
                    told: CandidateRow = [key.hex(), file, piece.row, piece.offset, piece.samples]
                    of_seed.setdefault(utterance["dataset"], []).append(told)
    return found


def _key(seed: int, name: str, piece: Piece) -> bytes:
    return priority(seed, f"{name}#{piece.offset}" if piece.offset else name)


def choose(
    store: Store,
    receipts: Sequence[Receipt],
    hours: float,
    seed: int,
) -> dict[int, list[Piece]]:
    """Choose the pieces of a sample; each dataset has a share in proportion to its length.

    Tables are read only where the receipts name too little speech: those of older programs, and for large samples.

    Args:
        store: the corpus.
        receipts: receipts of `ingest`, of the utterances to choose from.
        hours: length of the sample.
        seed: seed of the choice.

    Returns:
        the chosen pieces by position of their file in `utterance_files(receipts)`.

    Raises:
        StorageError: a file cannot be read.
    """
    lengths: Counter[str] = Counter()
    for name, counts in dataset_counts(receipts):
        lengths[name] += counts["samples"]
    share = min(1.0, hours * 3600 * SAMPLE_RATE / lengths.total()) if lengths.total() else 0.0
    strata = {name: Stratum(round(share * samples)) for name, samples in lengths.items()}
    told: list[tuple[int, str]] = []
    untold: list[tuple[int, str]] = []
    datasets: dict[int, Iterable[str]] = {}
    for first, receipt in _numbered(receipts):
        named = statistics_of(receipt).get("candidates", {}).get(str(seed))
        files = [(first + number, file.path) for number, file in enumerate(utterance_files([receipt]))]
        (untold if named is None else told).extend(files)
        datasets |= dict.fromkeys(dict(files), statistics_of(receipt).get("datasets", {}))
        for dataset, rows in (named or {}).items():
            for key, file, *piece in rows:
                strata[dataset].add(Candidate(bytes.fromhex(str(key)), first + int(file), Piece(*map(int, piece))))
    for dataset, candidate in _read(store, untold, seed):
        strata[dataset].add(candidate)
    short = {name for name, stratum in strata.items() if not stratum.is_full_of_first()}
    for dataset, candidate in _read(store, [file for file in told if short & {*datasets[file[0]]}], seed):
        if dataset in short and not is_first(candidate.priority):
            strata[dataset].add(candidate)
    return _by_file(strata.values())


def _numbered(receipts: Iterable[Receipt]) -> Iterator[tuple[int, Receipt]]:
    """Yield each receipt with the position of its first file of utterances."""
    first = 0
    for receipt in receipts:
        yield first, receipt
        first += len(utterance_files([receipt]))


def _read(store: Store, files: Sequence[tuple[int, str]], seed: int) -> Iterator[tuple[str, Candidate]]:
    """Yield dataset and candidate of all speech of some files, by their positions and paths."""
    tables = read_tables(store, ((path, ["utterance_id", "dataset", "num_samples"]) for _, path in files))
    for (position, _), table in zip(files, tables, strict=True):
        columns = (table[name].to_pylist() for name in table.column_names)
        for row, (name, dataset, samples) in enumerate(zip(*columns, strict=True)):
            for piece in pieces(row, samples):
                yield dataset, Candidate(_key(seed, name, piece), position, piece)


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
