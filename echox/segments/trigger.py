"""The streaming trigger: it cuts an answer into segments while the answer is being written, from one score per token.

The score of a token is the cosine of the state that predicts it and the language model's head for a full stop: high
where a sentence could end. The rule is that of the released EchoX code, which has no `longest`.
"""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from unitlang.config import FrozenConfig

Positive = Annotated[int, Field(ge=1)]


class TriggerConfig(FrozenConfig):
    """The numbers of the trigger; lengths are in tokens."""

    lookahead: Positive = 5
    """Tokens that are known behind a token when it is judged."""
    window: Positive = 5
    """A score is a peak if none of so many before it and behind it is higher."""
    early: Positive = 20
    """A peak above `threshold` ends a segment if so many tokens of the segment are before it."""
    threshold: Annotated[float, Field(ge=-1, le=1)] = 0.1
    """The score of an early end is above this."""
    late: Positive = 50
    """Any peak ends a segment if so many tokens of the segment are before it."""
    longest: Positive | None = 200
    """A segment without a peak ends here, because the word decoder reads no sequence of any length; null: never."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.late < self.early:
            raise ValueError(f"late {self.late} is less than early {self.early}")
        if self.longest is not None and self.longest <= self.late:
            raise ValueError(f"longest {self.longest} is not more than late {self.late}")
        return self


def cuts(scores: Sequence[float], config: TriggerConfig) -> list[int]:
    """Return the index of each segment's last token; tokens behind the last of them are one more segment.

    Args:
        scores: one score per token of an answer, without the token that ends the turn.
        config: the numbers of the trigger.
    """
    found: list[int] = []
    for known in range(1, len(scores) + 1):
        start = found[-1] + 1 if found else 0
        if ends_segment(scores[:known], start, config):
            found.append(known - 1 - config.lookahead)
    return found


def ends_segment(scores: Sequence[float], start: int, config: TriggerConfig) -> bool:
    """Return whether the segment that began at `start` ends `lookahead` tokens before the newest one.

    Streaming asks this after each token; `cuts` asks it for all tokens of a finished answer.

    Args:
        scores: scores of all tokens so far.
        start: index of the segment's first token.
        config: the numbers of the trigger.
    """
    judged = len(scores) - 1 - config.lookahead
    before = judged - start
    if config.longest is not None and before + 1 >= config.longest:
        return True
    if before < config.early or (before < config.late and scores[judged] <= config.threshold):
        return False
    return scores[judged] >= max(scores[max(0, judged - config.window) : judged + config.window + 1])
