"""Labels of a batch: answers of S2T, their segments, and T2C's words of each segment."""

# Shapes: B = examples, R = tokens of an answer, S = segments of all answers, W = words of a segment.

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, Self

import torch

from echox.models.echo import Segments
from echox.models.ragged import Ragged


class Label(NamedTuple):
    """The label of one example; a row of the table `echo_labels`.

    Attributes:
        answer: ids of text, the end of the turn included.
        segments: lengths in tokens of the segments, which follow one another; the end of the turn is in none.
        words: ids in the unit language of each segment.
    """

    answer: list[int]
    segments: list[int]
    words: list[list[int]]


@dataclass(frozen=True)
class LabelBatch:
    """Labels of several examples.

    Attributes:
        answers: (B, R) ids of text, the end of the turn included.
        segments: segments of the answers.
        words: (S, W) ids in the unit language.
    """

    answers: Ragged
    segments: Segments
    words: Ragged

    @classmethod
    def of(cls, labels: Sequence[Label]) -> Self:
        """Return the labels of a batch of examples."""
        pieces = [
            (index, start, length)
            for index, label in enumerate(labels)
            for start, length in zip(accumulate(label.segments, initial=0), label.segments, strict=False)
        ]
        columns = torch.tensor(pieces, dtype=torch.int64).view(-1, 3)
        words = Ragged.of([row for label in labels for row in label.words])
        return cls(Ragged.of([label.answer for label in labels]), Segments(*columns.unbind(1)), words)

    def rows(self) -> Iterator[Label]:
        """Yield the label of each example."""
        lengths: list[list[int]] = [[] for _ in self.answers.lengths_B]
        words: list[list[list[int]]] = [[] for _ in self.answers.lengths_B]
        owners, sizes = self.segments.example_S.tolist(), self.segments.lengths_S.tolist()
        for owner, length, row in zip(owners, sizes, self.words.rows(), strict=True):
            lengths[owner].append(length)
            words[owner].append(row.tolist())
        for answer, segments, of_segments in zip(self.answers.rows(), lengths, words, strict=True):
            yield Label(answer.tolist(), segments, of_segments)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "LabelBatch":
        """Return the same on a device."""
        return LabelBatch(
            self.answers.to(device, non_blocking=non_blocking),
            self.segments.to(device, non_blocking=non_blocking),
            self.words.to(device, non_blocking=non_blocking),
        )
