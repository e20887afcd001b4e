"""Cutting of long answers into segments at the ends of sentences, for training."""

# Shapes: B = answers, R = tokens of an answer, S = segments.

from collections.abc import Callable, Sequence

import torch

from echox.models.echo import Segments
from echox.models.ragged import Ragged

SENTENCE_ENDS = (".", "!", "?", "。", "！", "？")


def cut(responses: Ragged, ends_sentence: Callable[[int], bool], shortest: int, longest: int) -> Segments:
    """Return the segments of answers, (B, R), whose last token is the end of the turn and is in no segment.

    Args:
        responses: ids of the answers.
        ends_sentence: whether a token ends a sentence.
        shortest: a segment ends with the first sentence that makes it at least this long.
        longest: a segment ends here at the latest.
    """
    rows = [(index, row.tolist()[:-1]) for index, row in enumerate(responses.rows())]
    pieces = [(index, *piece) for index, row in rows for piece in _pieces(row, ends_sentence, shortest, longest)]
    columns = torch.tensor(pieces, dtype=torch.int64, device=responses.lengths_B.device).view(-1, 3)
    return Segments(columns[:, 0], columns[:, 1], columns[:, 2])


def _pieces(
    tokens: Sequence[int], ends_sentence: Callable[[int], bool], shortest: int, longest: int
) -> list[tuple[int, int]]:
    """Return (start, length) of each segment; together they cover the answer."""
    pieces: list[tuple[int, int]] = []
    start = 0
    for position, token in enumerate(tokens):
        length = position + 1 - start
        if length == longest or (length >= shortest and ends_sentence(token)) or position == len(tokens) - 1:
            pieces.append((start, length))
            start = position + 1
    return pieces
