"""The recipe of all stages: fairseq2 trains what a `Stage` describes."""

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq2.composition import register_model_family
from fairseq2.gang import Gangs
from fairseq2.metrics.formatters import format_as_float
from fairseq2.metrics.recorders import MetricDescriptor, MetricRecorder
from fairseq2.nn.utils.module import to_device
from fairseq2.recipe.base import Recipe, RecipeContext
from fairseq2.runtime.dependency import DependencyContainer
from fairseq2.task import Task
from torch import nn
from typing_extensions import override

from echox.data.corpus import hold_out, recall_read_contents
from echox.data.pipeline import Source, TrainingBatches
from echox.data.readers import TrainingReader, ValidationReader
from echox.data.worker import Worker
from echox.recipes.batches import AnyStage, Training, Validation
from echox.recipes.folder import CONTENTS
from echox.recipes.loading import freeze, load
from echox.recipes.recorder import RunRecorder
from echox.recipes.sections import FAMILY, Sections, check_parts
from echox.trainer.parallel import checkpoint_activations, shard
from echox.trainer.schedule import register_cosine
from echox.weights.frozen import leave_out_frozen

log = logging.getLogger(__name__)


def _on_host() -> AbstractContextManager[object]:
    """Return the context in which the first worker makes its model; the others make theirs on the meta device."""
    return nullcontext() if torch.get_default_device().type == "meta" else torch.device("cpu")


@dataclass
class _NoConfig:
    """An empty configuration: the stage knows its architecture."""


class StageRecipe(Recipe):
    """Build, load, freeze, distribute, train and validate a stage's model."""

    def __init__(self, stage: AnyStage, folder: Path, recorder: RunRecorder | None) -> None:
        """Make the recipe of a run in a folder; `recorder` is given on the worker that keeps the metrics."""
        self._stage = stage
        self._folder = folder
        self._recorder = recorder
        self._batches: TrainingBatches[Any] | None = None

    def close(self) -> None:
        """Stop the threads that read ahead."""
        if self._batches is not None:
            self._batches.close()

    @property
    @override
    def config_kls(self) -> type[object]:
        return Sections

    @override
    def register(self, container: DependencyContainer) -> None:
        def build(config: _NoConfig) -> nn.Module:  # noqa: ARG001 - by name in fairseq2's protocol
            with _on_host():
                return self._stage.build()

        register_model_family(
            container,
            FAMILY,
            nn.Module,
            _NoConfig,
            factory=build,
            supports_meta=True,
            fsdp_applier=shard,
            layerwise_ac_applier=checkpoint_activations,
        )
        register_cosine(container)
        if self._recorder is not None:
            container.collection.register_instance(MetricRecorder, self._recorder)
        for name in {*self._stage.loss_parts, *self._stage.metrics}:
            descriptor = MetricDescriptor(name, name, 100, format_as_float)
            container.collection.register_instance(MetricDescriptor, descriptor)

    @override
    def setup_model(self, context: RecipeContext, model: nn.Module, newly_initialized: bool) -> nn.Module:
        freeze(self._stage, model)
        check_parts(self._stage.setting.config.optimizer, model)
        if context.gangs.dp.rank == 0:  # this worker sends the weights to the others, whose models are on meta
            log.info("loading the weights that exist already")
            load(self._stage, model, self._folder)
            if context.gangs.sdp.size == 1:  # FSDP moves layer by layer, so that no GPU holds the whole model
                to_device(model, context.gangs.root.device)
        leave_out_frozen(model)
        return model

    @override
    def create_task(self, context: RecipeContext) -> Task:
        model = context.get_data_parallel_model()
        config, gangs = self._stage.setting.config, context.gangs
        source = self._source(gangs)
        if gangs.root.rank == 0:
            log.info("reading the first examples")
        self._batches = batches = source.training(config.seed)
        if batches.times_read > 1 and gangs.root.rank == 0:
            log.warning(
                "%d workers share streams of examples, so that all of the table is read %d times in an epoch; with "
                "data.streams a multiple of their number it is read once, if the table is large enough for so many",
                gangs.dp.size,
                batches.times_read,
            )
        reader = TrainingReader(batches, config.parallel.gradient_accumulation)
        validation = ValidationReader(source.validation(), gangs.dp)
        units = Training(self._stage, model, batches), Validation(self._stage, model)
        return context.create_trainer(units[0], reader, [units[1]], [validation])

    def _source(self, gangs: Gangs) -> Source[Any]:
        setting, reading = self._stage.setting, self._stage.reading()
        recall_read_contents(self._folder / CONTENTS)  # of the first worker, which wrote it before the others joined
        holdout = hold_out(setting.corpus, reading.table, setting.config.data.valid_fraction)
        return Source(setting.corpus, reading, holdout, setting.config.data, Worker(gangs.dp.rank, gangs.dp.size))
