"""Choosing utterances for the two fits: bounded, seeded, and stratified by dataset.

Every utterance has a priority that depends on the seed and its id alone. Each dataset gives the utterances of the
highest priority until its share of the hours is full, so a sample depends neither on the order nor on the number of
work units.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from pipelines.records import UtteranceFile
from storage.store import Store
from storage.tables import read_table
from unitlang.frames import SAMPLE_RATE

PRUNE_FACTOR = 2.0
PIECE_SAMPLES = 600 * SAMPLE_RATE
"""Longer utterances are sampled in pieces of ten minutes, so that none fills the sample or a worker alone."""


@dataclass(frozen=True, order=True)
class Candidate:
    """An utterance, or a piece of a long one, that may be in the sample; smaller sorts first."""

    priority: bytes
    file: int
    piece: "Piece"

    @property
    def samples(self) -> int:
        """Length in samples at 16 kHz."""
        return self.piece.samples


@dataclass(frozen=True, order=True)
class Piece:
    """Speech of the sample: a row of a file of utterances, from `offset` on, in samples at 16 kHz."""

    row: int
    offset: int
    samples: int


class Stratum:
    """The best utterances of one dataset, up to a length; memory is bounded by that length."""

    def __init__(self, samples: int) -> None:
        self.limit = samples
        self.held = 0
        self.candidates: list[Candidate] = []

    def add(self, candidate: Candidate) -> None:
        """Consider one more utterance."""
        self.candidates.append(candidate)
        self.held += candidate.samples
        if self.held > PRUNE_FACTOR * self.limit + candidate.samples:
            self.prune()

    def prune(self) -> None:
        """Keep the first utterances that fill the limit; at least one."""
        self.candidates.sort()
        kept, held = 0, 0
        while kept < len(self.candidates) and (held < self.limit or not kept):
            held += self.candidates[kept].samples
            kept += 1
        del self.candidates[kept:]
        self.held = held


def priority(seed: int, utterance_id: str) -> bytes:
    """16 bytes that order the utterances at random."""
    return blake2b(utterance_id.encode(), digest_size=16, salt=seed.to_bytes(16, "little")).digest()


def pieces(row: int, samples: int) -> Iterator[Piece]:
    """The whole utterance, or its ten-minute pieces."""
    for offset in range(0, samples, PIECE_SAMPLES):
        yield Piece(row, offset, min(PIECE_SAMPLES, samples - offset))


def choose(
    store: Store, files: Sequence[UtteranceFile], dataset_samples: dict[str, int], hours: float, seed: int
) -> dict[int, list[Piece]]:
    """Pieces to take, by position of their file; all datasets in proportion to their length.

    Args:
        store: where the utterances are.
        files: the utterances to choose from.
        dataset_samples: length of each dataset in samples at 16 kHz.
        hours: length of the sample.
        seed: another seed, another sample.
    """
    total = sum(dataset_samples.values())
    share = min(1.0, hours * 3600 * SAMPLE_RATE / total) if total else 0.0
    strata = {name: Stratum(round(share * samples)) for name, samples in dataset_samples.items()}
    for position, file in enumerate(files):
        table = read_table(store, file.path, ["utterance_id", "dataset", "num_samples"])
        columns = (table[name].to_pylist() for name in table.column_names)
        for row, (name, dataset, samples) in enumerate(zip(*columns, strict=True)):
            for piece in pieces(row, samples):
                key = priority(seed, f"{name}#{piece.offset}" if piece.offset else name)
                strata[dataset].add(Candidate(key, position, piece))
    return _by_file(strata.values())


def _by_file(strata: Iterable[Stratum]) -> dict[int, list[Piece]]:
    chosen: dict[int, list[Piece]] = {}
    for stratum in strata:
        stratum.prune()
        for candidate in stratum.candidates:
            chosen.setdefault(candidate.file, []).append(candidate.piece)
    return {file: sorted(chosen[file]) for file in sorted(chosen)}
