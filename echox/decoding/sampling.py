"""Choice of the next token: the best one, or one drawn by temperature and top-p from numbers of the example's own."""

# Shapes: B = sequences, A = those that are still open, R = tokens, V = vocabulary.

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from unitlang.config import FrozenConfig


class DecodingConfig(FrozenConfig):
    """How tokens are drawn; the defaults are those of the released code."""

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2
    """Divides the scores: below 1, likely tokens become likelier."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Tokens are left out once likelier ones have this probability together."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    """Seed of the draws; those of an example depend on it and on the example's id alone."""


@dataclass(frozen=True)
class Draws:
    """The random numbers of a batch.

    Attributes:
        config: temperature and top-p.
        uniform_BR: float64 in [0, 1), one for each token that may be drawn.
    """

    config: DecodingConfig
    uniform_BR: Tensor

    @classmethod
    def of(cls, config: DecodingConfig, names: Sequence[str], most: int, device: torch.device) -> Self:
        """Return the numbers of examples, by their ids; they do not depend on the batch.

        Args:
            config: how tokens are drawn.
            names: ids of the examples.
            most: most tokens to draw for each.
            device: where they are needed.
        """
        rows = [np.random.default_rng(_seed(config.seed, name)).random(most) for name in names]
        return cls(config, torch.from_numpy(np.stack(rows)).to(device))


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=16, salt=seed.to_bytes(16, "little")).digest(), "little")


def best(logits_AV: Tensor) -> Tensor:
    """Return the token of the highest score of each sequence, (A,)."""
    return logits_AV.argmax(-1)


def drawn(logits_AV: Tensor, config: DecodingConfig, uniform_A: Tensor) -> Tensor:
    """Return a token of each sequence, (A,): where the sum of probabilities, largest first, passes a number.

    Args:
        logits_AV: scores.
        config: temperature and top-p.
        uniform_A: a number in [0, 1) for each.
    """
    scores_AV, order_AV = (logits_AV.double() / config.temperature).sort(dim=-1, descending=True, stable=True)
    probabilities_AV = scores_AV.softmax(-1)
    before_AV = probabilities_AV.cumsum(-1) - probabilities_AV
    kept_AV = probabilities_AV * (before_AV <= config.top_p)
    passed_AV = kept_AV.cumsum(-1) > (uniform_A * kept_AV.sum(-1))[:, None]
    return order_AV.gather(-1, passed_AV.int().argmax(-1, keepdim=True))[:, 0]
