"""One batch of training and of validation, the same for all stages."""

from contextlib import nullcontext
from typing import Any, Protocol, cast

import torch
from fairseq2.metrics import Mean, MetricBag, Sum
from fairseq2.nn.data_parallel import get_data_parallel_facade
from fairseq2.recipe.evaluator import EvalUnit
from fairseq2.recipe.trainer import TrainUnit
from torch import Tensor, nn
from typing_extensions import override

from echox.objectives import Objective
from echox.recipes.stage import Stage

AnyStage = Stage[Any, Any, Any]
SKIPPED = "total_skipped"
"""Metric of the examples that were too long, of all workers; by its name fairseq2 keeps the sum in checkpoints."""


class Skips(Protocol):
    """A source of batches that counts the examples that are too long."""

    @property
    def skipped(self) -> int:
        """Number of these examples so far."""
        ...


class Ratio(Mean):
    """A mean that may be 0; torcheval's own warns about that."""

    @override
    def compute(self) -> Tensor:
        weighted_sum, weights = cast("tuple[Tensor, Tensor]", (self.weighted_sum, self.weights))
        return weighted_sum / weights


class Training(TrainUnit[Any]):
    """Train on one batch."""

    def __init__(self, stage: AnyStage, model: nn.Module, source: Skips) -> None:
        """Train a model that may be wrapped, on batches whose source counts the examples that are too long."""
        self._stage = stage
        self._model = model
        self._source = source
        self._skipped = 0

    @override
    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        _add_losses(metric_bag, self._stage)
        for name in ("num_examples", "num_elements", "total_num_examples", SKIPPED):
            metric_bag.add(name, Sum())

    @override
    def process_batch(self, batch: Any, metric_bag: MetricBag) -> tuple[Tensor, int | None]:
        prepared = self._prepare(batch)
        objective = self._stage.objective(self._model, batch, prepared)
        _update_losses(metric_bag, objective)
        for name in ("num_examples", "total_num_examples"):
            metric_bag.get(name, Sum).update(batch.num_examples)
        metric_bag.get("num_elements", Sum).update(batch.num_positions)
        metric_bag.get(SKIPPED, Sum).update(self._source.skipped - self._skipped)
        self._skipped = self._source.skipped
        return objective.total, objective.count

    def _prepare(self, batch: Any) -> Any:
        facade = get_data_parallel_facade(self._model)
        gathered = facade.summon_full_parameters() if self._stage.prepares else nullcontext()
        with torch.no_grad(), gathered:
            prepared = self._stage.prepare(unwrapped(self._model), batch)
        # Autocast keeps the weights that it has cast; those cast without gradients would let none through later.
        torch.clear_autocast_cache()
        return prepared

    @override
    def process_metric_values(self, values: Any) -> None:
        values["skipped"] = values.pop(SKIPPED)


class Validation(EvalUnit[Any]):
    """Validate on one batch; the workers may have different numbers of batches."""

    def __init__(self, stage: AnyStage, model: nn.Module) -> None:
        self._stage = stage
        self._model = unwrapped(model)

    @override
    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        _add_losses(metric_bag, self._stage)
        metric_bag.add("num_examples", Sum())
        for name in self._stage.metrics:
            metric_bag.add(name, Ratio())

    @override
    def process_batch(self, batch: Any, metric_bag: MetricBag) -> None:
        prepared = self._stage.prepare(self._model, batch)
        _update_losses(metric_bag, self._stage.objective(self._model, batch, prepared))
        metric_bag.get("num_examples", Sum).update(batch.num_examples)
        for name, share in self._stage.measure(self._model, batch, prepared).items():
            if share.whole:
                metric_bag.get(name, Ratio).update(share.part / share.whole, weight=share.whole)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside DDP; FSDP2 does not wrap it."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def _add_losses(metric_bag: MetricBag, stage: AnyStage) -> None:
    for name in ("loss", *stage.loss_parts):
        metric_bag.add(name, Ratio())


def _update_losses(metric_bag: MetricBag, objective: Objective) -> None:
    with torch.no_grad():
        if objective.count:
            metric_bag.get("loss", Ratio).update(objective.total.detach() / objective.count, weight=objective.count)
        for name, value in objective.parts.items():
            metric_bag.get(name, Ratio).update(value, weight=objective.count)
