"""Compression of units: counts that add up exactly over batches and workers, and their ratios.

Shapes: W = words, V = words of the vocabulary, L = word lengths 0..K.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unitlang.errors import UnitlangError
from unitlang.frames import HUBERT_GRID, FrameGrid

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CompressionStats:
    """Counts of utterances encoded in one unit language. `a + b` is exact and the same in any order.

    Ratios and rates are 0 if their denominator is 0.

    Attributes:
        num_frames: frames before deduplication.
        num_runs: runs.
        word_counts_V: occurrences of each word of the vocabulary.
        length_counts_L: occurrences of words of each length in units.
        grid: frame grid of the quantizer; rates per second depend on it.
    """

    num_frames: int
    num_runs: int
    word_counts_V: Int64Array
    length_counts_L: Int64Array
    grid: FrameGrid = HUBERT_GRID

    @classmethod
    def of(
        cls,
        num_frames: int,
        num_runs: int,
        words_W: NDArray[np.integer],
        word_lengths: NDArray[np.integer],
        grid: FrameGrid = HUBERT_GRID,
    ) -> "CompressionStats":
        """Count one utterance or a batch of concatenated ones; the counts of nothing can start a sum.

        Args:
            num_frames: number of frames.
            num_runs: number of runs.
            words_W: ids of the words.
            word_lengths: units of each word of the vocabulary, of shape (V,).
            grid: frame grid of the quantizer.

        Raises:
            UnitlangError: words not in the vocabulary, or with more or fewer units than there are runs.
        """
        word_counts_V = np.bincount(np.asarray(words_W, np.int64), minlength=len(word_lengths))
        if len(word_counts_V) != len(word_lengths):
            raise UnitlangError(f"word {len(word_counts_V) - 1} is not in a vocabulary of {len(word_lengths)}")
        lengths_W = np.asarray(word_lengths, np.int64)[words_W]
        if int(lengths_W.sum()) != num_runs:
            raise UnitlangError(f"the words have {lengths_W.sum()} units, but there are {num_runs} runs")
        longest = int(np.max(word_lengths, initial=0))
        return cls(num_frames, num_runs, word_counts_V, np.bincount(lengths_W, minlength=longest + 1), grid)

    def __add__(self, other: "CompressionStats") -> "CompressionStats":
        return self._combined(other, 1)

    def __sub__(self, other: "CompressionStats") -> "CompressionStats":
        """The counts without those of a part of the utterances."""
        return self._combined(other, -1)

    def _combined(self, other: "CompressionStats", times: int) -> "CompressionStats":
        same = self.vocab_size == other.vocab_size and len(self.length_counts_L) == len(other.length_counts_L)
        if not same:
            raise UnitlangError("counts of two different unit languages cannot be added")
        if self.grid != other.grid:
            raise UnitlangError(f"counts on different frame grids cannot be added: {self.grid} and {other.grid}")
        return CompressionStats(
            self.num_frames + times * other.num_frames,
            self.num_runs + times * other.num_runs,
            self.word_counts_V + times * other.word_counts_V,
            self.length_counts_L + times * other.length_counts_L,
            self.grid,
        )

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON values, without words that do not occur."""
        seen = np.flatnonzero(self.word_counts_V)
        return {
            "grid": self.grid.to_dict(),
            "num_frames": self.num_frames,
            "num_runs": self.num_runs,
            "vocab_size": self.vocab_size,
            "words": seen.tolist(),
            "word_counts": self.word_counts_V[seen].tolist(),
            "length_counts": self.length_counts_L.tolist(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CompressionStats":
        """Return the counts of `to_dict`'s values; counts without a grid use `HUBERT_GRID`.

        Raises:
            UnitlangError: the grid is not valid.
        """
        grid = FrameGrid.from_dict(values["grid"]) if "grid" in values else HUBERT_GRID
        word_counts_V = np.zeros(values["vocab_size"], np.int64)
        word_counts_V[np.array(values["words"], np.int64)] = values["word_counts"]
        length_counts_L = np.array(values["length_counts"], np.int64)
        return cls(values["num_frames"], values["num_runs"], word_counts_V, length_counts_L, grid)

    @property
    def vocab_size(self) -> int:
        """Number of words in the vocabulary, with `<unk>`."""
        return len(self.word_counts_V)

    @property
    def num_words(self) -> int:
        """Number of words that encode the utterances."""
        return int(self.word_counts_V.sum())

    @property
    def seconds(self) -> float:
        """Length of the speech in seconds, one hop of the grid per frame."""
        return self.grid.seconds(self.num_frames)

    @property
    def frames_per_second(self) -> float:
        """Frames per second of speech: that of the grid, or 0 without any speech."""
        return _ratio(self.num_frames, self.seconds)

    @property
    def runs_per_second(self) -> float:
        """Runs per second of speech."""
        return _ratio(self.num_runs, self.seconds)

    @property
    def words_per_second(self) -> float:
        """Words per second of speech."""
        return _ratio(self.num_words, self.seconds)

    @property
    def total_ratio(self) -> float:
        """Frames per word."""
        return _ratio(self.num_frames, self.num_words)

    @property
    def dedup_ratio(self) -> float:
        """Frames per run."""
        return _ratio(self.num_frames, self.num_runs)

    @property
    def unit_language_ratio(self) -> float:
        """Runs per word."""
        return _ratio(self.num_runs, self.num_words)

    @property
    def word_length_histogram(self) -> list[int]:
        """Number of words of each length in units: entry n counts words of n units, up to the vocabulary's longest."""
        return self.length_counts_L.tolist()

    @property
    def vocabulary_use(self) -> float:
        """Share of the vocabulary's words (without `<unk>`) that occur at least once."""
        return _ratio(int(np.count_nonzero(self.word_counts_V[1:])), self.vocab_size - 1)

    @property
    def bits_per_word(self) -> float:
        """Entropy of the word frequencies: bits per word of an ideal code without context."""
        counts = self.word_counts_V[self.word_counts_V > 0]
        shares = counts / max(1, self.num_words)
        return float(-(shares * np.log2(shares)).sum()) + 0.0  # + 0.0: no negative zero

    @property
    def bits_per_second(self) -> float:
        """`bits_per_word` times words per second."""
        return self.bits_per_word * self.words_per_second


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0
