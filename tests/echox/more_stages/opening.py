"""A stage that no other file names: continue T2C on the first words of each text."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from typing_extensions import override

from echox.checkpoints import load_weights
from echox.data.reading import Reading
from echox.data.text_to_words import T2CBatch, T2CExample, t2c_reading
from echox.metrics import Share, token_accuracy
from echox.models.ragged import Ragged
from echox.models.t2c import T2C
from echox.objectives import Objective, t2c_objective
from echox.recipes.config import Positive, StageConfig, tiny_defaults
from echox.recipes.stage import Stage


class OpeningConfig(StageConfig):
    """Settings of stage opening."""

    first_words: Positive = 6
    """Words of each text that are learnt."""


class Opening(Stage[OpeningConfig, T2CBatch, T2C]):
    """Train T2C further on the first words of each text."""

    name: ClassVar[str] = "opening"
    stands_on: ClassVar[tuple[str, ...]] = ("t2c",)
    table: ClassVar[str] = "t2c"
    config: ClassVar[type[StageConfig]] = OpeningConfig
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": tiny_defaults(20)}
    loss_parts: ClassVar[tuple[str, ...]] = ("words",)
    metrics: ClassVar[tuple[str, ...]] = ("opening_accuracy",)

    @override
    def reading(self) -> Reading[T2CExample]:
        return t2c_reading(self.table, self.setting.tokenizer)

    @override
    def build(self) -> T2C:
        t2c = self.setting.architecture.t2c
        return T2C(t2c, torch.empty(t2c.text_vocabulary, t2c.text_hidden_size))

    @override
    def load(self, model: T2C) -> None:
        weights = self.setting.source_models["t2c"].weights
        load_weights(model, load_file(weights), weights)

    @override
    def freeze(self, model: T2C) -> None:
        model.text_embedding.requires_grad_(False)

    @override
    def prepare(self, model: T2C, batch: T2CBatch) -> Ragged:
        lengths_B = batch.words.lengths_B.clamp(max=self.setting.config.first_words)
        return batch.words.cut(torch.zeros_like(lengths_B), lengths_B)

    @override
    def objective(self, model: T2C, batch: T2CBatch, prepared: Ragged) -> Objective:
        return t2c_objective(model(batch.text, prepared))

    @override
    def measure(self, model: T2C, batch: T2CBatch, prepared: Ragged) -> Mapping[str, Share]:
        return {"opening_accuracy": token_accuracy(model(batch.text, prepared))}
