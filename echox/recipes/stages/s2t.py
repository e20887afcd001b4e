"""Stage s2t: the language model learns to hear (Soundwave's recipe)."""

from collections.abc import Mapping
from typing import ClassVar

from typing_extensions import override

from echox.data.features import SpeechFeatures
from echox.data.reading import Reading
from echox.data.speech import SpokenBatch, SpokenExample, spoken_reading
from echox.generation import answer
from echox.metrics import Share, exact_matches, token_accuracy, word_errors
from echox.models.ragged import Ragged
from echox.models.s2t import S2T
from echox.objectives import Objective, s2t_objective
from echox.recipes.config import S2TStage, SpokenStage
from echox.recipes.stage import Setting, Stage, text_table
from echox.text.prompts import Prompter
from echox.text.tokenizer import END_OF_TURN, TextTokenizer


class SpeechToText(Stage[S2TStage, SpokenBatch, S2T]):
    """See `Stage`."""

    name: ClassVar[str] = "s2t"
    parts: ClassVar[tuple[str, ...]] = ("response", "ctc")
    measures: ClassVar[tuple[str, ...]] = ("token_accuracy", "word_error_rate", "exact_match")

    @override
    def reading(self) -> Reading[SpokenExample]:
        return speech_of("s2t", self.setting)

    @override
    def build(self) -> S2T:
        return S2T(self.setting.architecture, self.setting.tokenizer.speech_id)

    @override
    def load(self, model: S2T) -> None:
        model.llm.table.data.copy_(text_table(self.setting.architecture))
        model.load()

    @override
    def freeze(self, model: S2T) -> None:
        model.freeze()

    @override
    def objective(self, model: S2T, batch: SpokenBatch, prepared: None) -> Objective:
        return s2t_objective(model(batch.inputs), self.setting.config.loss)

    @override
    def measure(self, model: S2T, batch: SpokenBatch, prepared: None) -> Mapping[str, Share]:
        inputs, config, tokenizer = batch.inputs, self.setting.config, self.setting.tokenizer
        end = tokenizer.special(END_OF_TURN)
        written = answer(model, inputs.speech, inputs.prompt, end=end, limit=config.max_answer)
        found, wanted = texts(tokenizer, written.tokens), texts(tokenizer, inputs.response)
        return {
            "token_accuracy": token_accuracy(model(inputs).response),
            "word_error_rate": word_errors(found, wanted),
            "exact_match": exact_matches(found, wanted),
        }


def speech_of(table: str, setting: Setting[SpokenStage]) -> Reading[SpokenExample]:
    """How a stage with speech reads its table."""
    prompter = Prompter(setting.tokenizer, setting.config.prompt, setting.config.system)
    return spoken_reading(table, prompter, SpeechFeatures(setting.architecture.encoder))


def texts(tokenizer: TextTokenizer, tokens: Ragged) -> list[str]:
    """Texts of ids, (B, R)."""
    return [tokenizer.decode(row.tolist()) for row in tokens.rows()]
