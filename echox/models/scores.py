"""Scores that the models return, with the targets that losses and metrics compare them with."""

# Shapes: B = examples, N = targets, V = vocabulary, F = frames, C = tokens of a transcript.

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from echox.models.ragged import Ragged

IGNORE = -100
"""A target that is ignored."""


@dataclass(frozen=True)
class Predictions:
    """A model's scores of all targets of a batch, without padding.

    Attributes:
        logits_NV: scores of every token of the vocabulary.
        targets_N: int64, the correct token, or IGNORE.
        lengths_B: number of targets of each example, which follow one another.
    """

    logits_NV: Tensor
    targets_N: Tensor
    lengths_B: Tensor

    @cached_property
    def count(self) -> int:
        """Number of targets."""
        return int((self.targets_N != IGNORE).sum())

    @property
    def correct(self) -> int:
        """Number of targets with the highest score."""
        return int((self.logits_NV.argmax(-1) == self.targets_N).sum())


@dataclass(frozen=True)
class CtcScores:
    """The inputs of CTC.

    Attributes:
        columns: (B, F, 1 + C) scores of each frame: of the blank, then of the transcript's tokens.
        sums_BF: log-sum-exp of the scores of the whole vocabulary.
        transcript: (B, C) ids; length 0 where it is unknown.
    """

    columns: Ragged
    sums_BF: Tensor
    transcript: Ragged
