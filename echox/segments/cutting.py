"""Cutting of answers into segments, for training: at ends of sentences, by the streaming trigger, or not at all."""

# Shapes: B = answers, R = tokens of an answer, S = segments, H = hidden size.

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from echox.models.echo import Segments
from echox.models.ragged import Ragged
from echox.segments.sentences import Sentences
from echox.segments.trigger import TriggerConfig, cuts
from unitlang.config import FrozenConfig

Positive = Annotated[int, Field(ge=1)]


class SentencesConfig(FrozenConfig):
    """Length of the segments, in tokens, that end with sentences."""

    shortest: Positive = 20
    """A segment ends with the first sentence that makes it at least this long."""
    longest: Positive = 60
    """A segment without an end of a sentence ends here."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.longest < self.shortest:
            raise ValueError(f"longest {self.longest} is less than shortest {self.shortest}")
        return self


def rename_segments(values: Any) -> Any:
    """Return settings of stage echo in which `segments` is a choice, as it is now, from those of version 0.1."""
    if not isinstance(values, Mapping) or "segments" not in values or isinstance(values["segments"], str):
        return values
    given = cast("Mapping[str, Any]", values)
    if given["segments"] is None:
        return {**given, "segments": "whole"}
    return {**given, "segments": "sentences", "sentences": given["segments"]}


def cut_at_sentences(responses: Ragged, sentences: Sentences, config: SentencesConfig) -> Segments:
    """Return the segments of answers, (B, R), whose last token is the end of the turn and is in no segment."""
    rows = [row.tolist()[:-1] for row in responses.rows()]
    return _segments(responses, [_sentence_cuts(len(row), {*sentences.ends(row)}, config) for row in rows])


def cut_by_trigger(responses: Ragged, states: Ragged, head_row_H: Tensor, config: TriggerConfig) -> Segments:
    """Return the segments that streaming would make of answers.

    Args:
        responses: (B, R) ids of the answers; the last token is the end of the turn and is in no segment.
        states: (B, R - 1, H) or (B, R, H), for each token the state that predicts it.
        head_row_H: the language model's head for a full stop.
        config: the numbers of the trigger.
    """
    scores_BR = functional.cosine_similarity(states.values_BL.float(), head_row_H.float(), dim=-1)
    lengths = (responses.lengths_B - 1).tolist()
    rows = zip(scores_BR.tolist(), lengths, strict=True)
    return _segments(responses, [cuts(row[:length], config) for row, length in rows])


def _sentence_cuts(tokens: int, ends: Collection[int], config: SentencesConfig) -> list[int]:
    """Return the index of each segment's last token, but for what is left at the end."""
    found: list[int] = []
    start = 0
    for index in range(tokens):
        length = index + 1 - start
        if length == config.longest or (length >= config.shortest and index in ends):
            found.append(index)
            start = index + 1
    return found


def _segments(responses: Ragged, last_tokens: Sequence[Sequence[int]]) -> Segments:
    """Return segments that together are the answers, from the index of each one's last token; the rest is one more."""
    pieces: list[tuple[int, int, int]] = []
    for example, (length, found) in enumerate(zip(responses.lengths_B.tolist(), last_tokens, strict=True)):
        bounds = [0, *(index + 1 for index in found), length - 1]
        pieces += [(example, start, end - start) for start, end in pairwise(bounds) if end > start]
    columns = torch.tensor(pieces, dtype=torch.int64, device=responses.lengths_B.device).view(-1, 3)
    return Segments(columns[:, 0], columns[:, 1], columns[:, 2])
