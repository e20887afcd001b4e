"""Examples and batches of stage t2c: a text, and the words of its speech."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from echox.data.reading import Reading, Row
from echox.models.ragged import Ragged
from echox.text.tokenizer import TextTokenizer

FRAMING = 16
"""Positions that may stand around text and words."""


@dataclass(frozen=True)
class T2CExample:
    """One text.

    Attributes:
        text: ids in the language model's vocabulary.
        words: ids in the unit language.
    """

    text: list[int]
    words: list[int]

    @property
    def length(self) -> int:
        """See `Example`."""
        return len(self.text) + len(self.words) + FRAMING


@dataclass
class T2CBatch:
    """Some texts.

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


def t2c_reading(tokenizer: TextTokenizer) -> Reading[T2CExample]:
    """How stage t2c reads its table."""

    def example(row: Row) -> T2CExample:
        return T2CExample(tokenizer.encode(row["text"].strip()), row["words"])

    return Reading("t2c", ("text", "words"), example, collate)


def collate(examples: Sequence[T2CExample]) -> T2CBatch:
    """Examples to a batch."""
    return T2CBatch(Ragged.of([item.text for item in examples]), Ragged.of([item.words for item in examples]))
