"""Stage t2c: train a decoder to write the words in which a text is spoken."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from typing_extensions import override

from echox.checkpoints import weight_files
from echox.data.reading import Reading
from echox.data.text_to_words import T2CBatch, T2CExample, t2c_reading
from echox.decoding.generation import write_words
from echox.metrics import Share, token_accuracy, unit_errors
from echox.models.t2c import T2C
from echox.objectives import Objective, t2c_objective
from echox.recipes.config import Positive, StageConfig, tiny_defaults
from echox.recipes.stage import Stage, text_table
from echox.weights.filling import fill, unmade

TABLE = "text_embedding."
"""Beginning of the name of the language model's text embeddings."""


class T2CStageConfig(StageConfig):
    """Settings of stage t2c."""

    valid_words: Positive = 1_024
    """Most words that a validation generates for a text."""


class TextToWords(Stage[T2CStageConfig, T2CBatch, T2C]):
    """Train T2C on texts and the words of their speech."""

    name: ClassVar[str] = "t2c"
    table: ClassVar[str] = "t2c"
    fed_by: ClassVar[str] = (
        "speech that was read from texts (`task: tts` of a source), dialogues with spoken answers "
        "(`kind: conversation`), or transcribed speech (with `shards.stages.t2c: [asr, tts, sqa]`)"
    )
    text_columns: ClassVar[tuple[str, ...]] = ("text",)
    config: ClassVar[type[StageConfig]] = T2CStageConfig
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": tiny_defaults(200)}
    loss_parts: ClassVar[tuple[str, ...]] = ("words",)
    metrics: ClassVar[tuple[str, ...]] = ("word_accuracy", "unit_error_rate")

    @override
    def reading(self) -> Reading[T2CExample]:
        return t2c_reading(self.table, self.setting.tokenizer)

    @override
    def build(self) -> T2C:
        llm = self.setting.architecture.llm
        with unmade(llm.checkpoint):
            table_VH = torch.empty(llm.vocabulary, llm.decoder.hidden_size)
        return T2C(self.setting.architecture.t2c, table_VH)

    @override
    def load(self, model: T2C) -> None:
        fill(model, {f"{TABLE}weight": text_table(self.setting.architecture)})

    @override
    def frozen_files(self) -> Mapping[str, Sequence[Path]]:
        folder = self.setting.architecture.llm.checkpoint
        return {TABLE: weight_files(Path(folder))} if folder else {}

    @override
    def freeze(self, model: T2C) -> None:
        model.text_embedding.requires_grad_(False)

    @override
    def objective(self, model: T2C, batch: T2CBatch, prepared: None) -> Objective:
        return t2c_objective(model(batch.text, batch.words))

    @override
    def measure(self, model: T2C, batch: T2CBatch, prepared: None) -> Mapping[str, Share]:
        predictions = model(batch.text, batch.words)
        written = write_words(model.words, model.prefix(batch.text), max_new_tokens=self.setting.config.valid_words)
        return {
            "word_accuracy": token_accuracy(predictions),
            "unit_error_rate": unit_errors(self.setting.corpus.unit_language, written, batch.words),
        }
