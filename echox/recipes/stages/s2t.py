"""Stage s2t: train the language model to answer speech in text (Soundwave's recipe)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from echox.checkpoints import weight_files
from echox.data.config import DataConfig
from echox.data.features import SpeechFeatures
from echox.data.reading import Reading
from echox.data.speech import SpokenBatch, SpokenExample, spoken_reading
from echox.decoding.generation import answer
from echox.metrics import Share, exact_matches, token_accuracy, word_errors
from echox.models.ragged import Ragged
from echox.models.s2t import S2T
from echox.objectives import Objective, S2TLossConfig, s2t_objective
from echox.recipes.config import SpokenStageConfig, StageConfig, tiny_defaults
from echox.recipes.stage import Setting, Stage, text_table
from echox.text.prompts import Prompter
from echox.text.tokenizer import END_OF_TURN, TextTokenizer
from echox.weights.filling import fill

TABLE = "model.decoder_frontend.embed.weight"
"""Name of the embedding table in the language model."""


class S2TStageConfig(SpokenStageConfig):
    """Settings of stage s2t."""

    data: DataConfig = DataConfig(max_tokens=6_144)
    """Examples and batches: as many whole windows of Whisper as fit on 80 GB with `echox-8b`, less a margin."""
    loss: S2TLossConfig = S2TLossConfig()
    """The loss."""


class SpeechToText(Stage[S2TStageConfig, SpokenBatch, S2T]):
    """Train the adapter, and LoRA of the language model, on spoken requests and their answers."""

    name: ClassVar[str] = "s2t"
    table: ClassVar[str] = "s2t"
    fed_by: ClassVar[str] = "speech with transcripts (`task: asr` of a source) or dialogues (`kind: conversation`)"
    text_columns: ClassVar[tuple[str, ...]] = ("prompt", "transcript", "response")
    config: ClassVar[type[StageConfig]] = S2TStageConfig
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": tiny_defaults(140, max_tokens=1_536)}
    loss_parts: ClassVar[tuple[str, ...]] = ("response", "ctc")
    metrics: ClassVar[tuple[str, ...]] = ("token_accuracy", "word_error_rate", "exact_match")

    @override
    def reading(self) -> Reading[SpokenExample]:
        return speech_of(self.table, self.setting)

    @override
    def build(self) -> S2T:
        return S2T(self.setting.architecture, self.setting.tokenizer.speech_id)

    @override
    def load(self, model: S2T) -> None:
        if self.setting.architecture.llm.checkpoint is None:
            fill(model.llm, {TABLE: text_table(self.setting.architecture)})
        model.load()

    @override
    def frozen_files(self) -> Mapping[str, Sequence[Path]]:
        encoder, llm = self.setting.architecture.encoder.checkpoint, self.setting.architecture.llm.checkpoint
        return {
            prefix: weight_files(Path(folder)) for prefix, folder in (("encoder.", encoder), ("llm.", llm)) if folder
        }

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
        written = answer(model, inputs.speech, inputs.prompt, end=end, max_new_tokens=config.max_new_tokens)
        found, wanted = texts(tokenizer, written.tokens), texts(tokenizer, inputs.response)
        return {
            "token_accuracy": token_accuracy(model(inputs).response),
            "word_error_rate": word_errors(found, wanted),
            "exact_match": exact_matches(found, wanted),
        }


def speech_of(
    table: str,
    setting: Setting[SpokenStageConfig],
    *,
    with_words: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Reading[SpokenExample]:
    """Return how a stage with speech reads its table.

    Args:
        table: name of the table.
        setting: everything that the stage works with.
        with_words: read the words of the spoken answers too.
        labels: as for `spoken_reading`.
    """
    prompter = Prompter(setting.tokenizer, setting.config.prompt, setting.config.system)
    features = SpeechFeatures(setting.architecture.encoder)
    return spoken_reading(table, prompter, features, with_words=with_words, labels=labels)


def texts(tokenizer: TextTokenizer, tokens: Ragged) -> list[str]:
    """Return the texts of ids, (B, R)."""
    return [tokenizer.decode(row.tolist()) for row in tokens.rows()]
