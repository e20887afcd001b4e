"""Stage t2c: from text to the words of its speech."""

from collections.abc import Mapping
from typing import ClassVar

from typing_extensions import override

from echox.data.reading import Reading
from echox.data.text_to_words import T2CBatch, T2CExample, t2c_reading
from echox.generation import write_words
from echox.metrics import Share, token_accuracy, unit_errors
from echox.models.t2c import T2C
from echox.objectives import Objective, t2c_objective
from echox.recipes.config import T2CStage
from echox.recipes.stage import Stage, text_table


class TextToWords(Stage[T2CStage, T2CBatch, T2C]):
    """See `Stage`."""

    name: ClassVar[str] = "t2c"
    parts: ClassVar[tuple[str, ...]] = ("words",)
    measures: ClassVar[tuple[str, ...]] = ("word_accuracy", "unit_error_rate")

    @override
    def reading(self) -> Reading[T2CExample]:
        return t2c_reading(self.setting.tokenizer)

    @override
    def build(self) -> T2C:
        return T2C(self.setting.architecture.t2c, text_table(self.setting.architecture))

    @override
    def load(self, model: T2C) -> None:
        """Nothing is there but the text table."""

    @override
    def freeze(self, model: T2C) -> None:
        model.text_embedding.requires_grad_(False)

    @override
    def objective(self, model: T2C, batch: T2CBatch, prepared: None) -> Objective:
        return t2c_objective(model(batch.text, batch.words))

    @override
    def measure(self, model: T2C, batch: T2CBatch, prepared: None) -> Mapping[str, Share]:
        predictions = model(batch.text, batch.words)
        written = write_words(model.words, model.prefix(batch.text), limit=self.setting.config.valid_words)
        return {
            "word_accuracy": token_accuracy(predictions),
            "unit_error_rate": unit_errors(self.setting.corpus.unit_language, written, batch.words),
        }
