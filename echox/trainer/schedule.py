"""The schedule of the learning rate: its shape is that of the settings, its position that of the checkpoint.

So a run that is lengthened follows the longer curve from the step on at which it is resumed.
"""

from dataclasses import dataclass
from math import cos, pi
from typing import Any, cast

from fairseq2.optim.lr_schedulers import AbstractLRScheduler, LRScheduler
from fairseq2.recipe.component import register_component
from fairseq2.runtime.dependency import DependencyContainer, DependencyResolver
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

COSINE = "cosine"
"""Name under which the schedule is registered."""


@dataclass(kw_only=True)
class CosineConfig:
    """A linear rise from 0, then half a wave of the cosine.

    Attributes:
        steps: length of training.
        warmup: steps of the rise.
        final: final learning rate as a share of the highest.
    """

    steps: int = 1
    warmup: int = 0
    final: float = 0.0

    def share(self, step: int) -> float:
        """Return the learning rate of a step, from 0, as a share of the highest."""
        if step < self.warmup:
            return step / self.warmup
        passed = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.final + (1 - self.final) * (1 + cos(pi * min(passed, 1.0))) / 2


class Cosine(AbstractLRScheduler):
    """Sets the learning rates of all groups of weights, each with a highest rate of its own."""

    def __init__(self, optimizer: Optimizer, config: CosineConfig) -> None:
        self._config = config
        super().__init__(optimizer)
        # The state of the optimizer, which is loaded later, has the rates of the shape that the run had before.
        optimizer.register_load_state_dict_post_hook(self._set_rates)

    @override
    def _compute_lrs(self) -> list[float | Tensor]:
        share = self._config.share(self.last_epoch)
        return [lr * share for lr in self.base_lrs]

    def _set_rates(self, optimizer: Optimizer) -> None:
        for group, lr in zip(optimizer.param_groups, self._compute_lrs(), strict=True):
            group["lr"] = lr

    @override
    def state_dict(self) -> dict[str, Any]:
        return {name: value for name, value in super().state_dict().items() if name != "_config"}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the step of a state; whatever else it says of the shape is of earlier settings or programs."""
        super().load_state_dict({name: state_dict[name] for name in self.state_dict() if name in state_dict})
        self._last_lr = cast("list[float]", self._compute_lrs())


def register_cosine(container: DependencyContainer) -> None:
    """Let recipes find the schedule by its name."""

    def create(resolver: DependencyResolver, config: CosineConfig) -> LRScheduler:
        return Cosine(resolver.resolve(Optimizer), config)

    register_component(container, LRScheduler, COSINE, CosineConfig, create)
