"""Examples and batches of stage t2c: a text, and the words of its speech."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch

from echox.data.reading import Reading
from echox.models.ragged import Ragged
from echox.text.tokenizer import TextTokenizer

MARGIN = 16
"""Most positions around text and words."""


class TextRow(TypedDict):
    """One row of a training table with text."""

    text: str
    words: list[int]


@dataclass(frozen=True)
class T2CExample:
    """One text, tokenised.

    Attributes:
        text: ids in the language model's vocabulary.
        words: ids in the unit language.
    """

    text: list[int]
    words: list[int]

    @property
    def length(self) -> int:
        """See `Example`."""
        return len(self.text) + len(self.words) + MARGIN


@dataclass
class T2CBatch:
    """A batch of texts.

    Attributes:
        text: (B, T) ids in the language model's vocabulary.
        words: (B, W) ids in the unit language.
    """

    text: Ragged
    words: Ragged

    @property
    def num_examples(self) -> int:
        """See `Batch`."""
        return len(self.text.lengths_B)

    @property
    def num_positions(self) -> int:
        """See `Batch`."""
        return int(self.text.lengths_B.sum() + self.words.lengths_B.sum())

    def to(self, device: torch.device, *, non_blocking: bool = False) -> None:
        """See `Batch`."""
        self.text = self.text.to(device, non_blocking=non_blocking)
        self.words = self.words.to(device, non_blocking=non_blocking)


def t2c_reading(table: str, tokenizer: TextTokenizer) -> Reading[T2CExample]:
    """Return how a table of texts and words is read."""

    def example(row: TextRow) -> T2CExample:
        return T2CExample(tokenizer.encode(row["text"].strip()), row["words"])

    return Reading(table, ("text", "words"), example, collate)


def collate(examples: Sequence[T2CExample]) -> T2CBatch:
    """Return a batch of examples."""
    return T2CBatch(Ragged.of([item.text for item in examples]), Ragged.of([item.words for item in examples]))
