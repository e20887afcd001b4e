"""The losses of the three stages, each a sum, so that batches and workers add up."""

# Shapes: N = targets, V = vocabulary.

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

IGNORE = -100
"""A target that counts for nothing."""


@dataclass(frozen=True)
class Predictions:
    """What a model says about each target of a batch, padding left out.

    Attributes:
        logits_NV: scores of every token of the vocabulary.
        targets_N: int64, the right one, or IGNORE.
        lengths_B: targets of each example, which lie one after another.
    """

    logits_NV: Tensor
    targets_N: Tensor
    lengths_B: Tensor

    @property
    def count(self) -> int:
        """How many targets there are."""
        return int((self.targets_N != IGNORE).sum())

    @property
    def correct(self) -> int:
        """How many of them have the highest score."""
        return int((self.logits_NV.argmax(-1) == self.targets_N).sum())


def cross_entropy(predictions: Predictions) -> Tensor:
    """Sum over targets of -log softmax(logits)[target], in nats and float32; without targets 0."""
    return functional.cross_entropy(
        predictions.logits_NV.float(), predictions.targets_N, ignore_index=IGNORE, reduction="sum"
    )
