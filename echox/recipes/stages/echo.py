"""Stage echo: train a decoder to write, from the language model's states, the words that T2C writes for their text.

EchoX, arXiv:2509.09174.
"""

# Shapes: B = examples, S = segments of their answers, W = words.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator
from safetensors.torch import load_file
from typing_extensions import override

from echox.checkpoints import load_weights
from echox.data.reading import Reading
from echox.data.speech import SpokenBatch, SpokenExample
from echox.generation import answer, write_words
from echox.metrics import Share, cosine, sequence_accuracy, token_accuracy, unit_errors
from echox.models.echo import Echo, Segments
from echox.models.ragged import Ragged
from echox.models.s2t import S2TInputs
from echox.objectives import EchoLossConfig, Objective, echo_objective
from echox.recipes.config import Positive, SpokenStageConfig, StageConfig, tiny_defaults
from echox.recipes.segments import SENTENCE_ENDS, cut
from echox.recipes.stage import Stage
from echox.recipes.stages.s2t import speech_of
from echox.text.tokenizer import END_OF_TURN
from unitlang.config import FrozenConfig


class SegmentsConfig(FrozenConfig):
    """Length of the segments, in tokens, into which long answers are cut."""

    shortest: Positive = 20
    """A segment ends with the first sentence that makes it at least this long."""
    longest: Positive = 60
    """A segment without an end of a sentence ends here."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.longest < self.shortest:
            raise ValueError(f"longest {self.longest} is less than shortest {self.shortest}")
        return self


class EchoStageConfig(SpokenStageConfig):
    """Settings of stage echo."""

    targets: Literal["pseudo", "pseudo_from_text", "annotated"] = "pseudo"
    """Words to learn: T2C's for S2T's own answer, T2C's for the annotated answer, or the annotated words."""
    segments: SegmentsConfig | None = SegmentsConfig()
    """Segments of long answers; null, and always with `annotated`, takes answers whole."""
    max_words: Positive = 1_024
    """Most words of a segment."""
    loss: EchoLossConfig = EchoLossConfig()
    """The loss."""


@dataclass(frozen=True)
class Targets:
    """Words that the Echo decoder learns, and the answers whose states it reads.

    Attributes:
        inputs: inputs with the answers that the states belong to: S2T's own or the annotated ones.
        segments: segments of the answers.
        words: (S, W) words of each segment.
    """

    inputs: S2TInputs
    segments: Segments
    words: Ragged


class SpeechToSpeech(Stage[EchoStageConfig, SpokenBatch, Echo]):
    """Train the denoising adapter and the Echo decoder, which starts as a copy of T2C."""

    name: ClassVar[str] = "echo"
    stands_on: ClassVar[tuple[str, ...]] = ("s2t", "t2c")
    table: ClassVar[str] = "echo"
    fed_by: ClassVar[str] = "dialogues whose questions and answers are spoken (`kind: conversation`)"
    text_columns: ClassVar[tuple[str, ...]] = ("response",)
    config: ClassVar[type[StageConfig]] = EchoStageConfig
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": tiny_defaults(60, max_new_tokens=32, max_words=128)}
    metrics: ClassVar[tuple[str, ...]] = ("word_accuracy", "sequence_accuracy", "unit_error_rate", "cosine")

    @property
    def loss_parts(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Names of the parts of the loss; the response is one where it has a weight."""
        return ("words", "denoising", *(("response",) if self._trains_s2t else ()))

    @property
    @override
    def prepares(self) -> bool:
        return self.setting.config.targets != "annotated"

    @property
    @override
    def leaves_out(self) -> bool:
        """True where S2T is trained: its CTC head, which only stage s2t trains, gets no gradient."""
        return self._trains_s2t

    @property
    def _trains_s2t(self) -> bool:
        return self.setting.config.loss.s2t_weight > 0

    @override
    def reading(self) -> Reading[SpokenExample]:
        return speech_of(self.table, self.setting, with_words=True)

    @override
    def build(self) -> Echo:
        return Echo(self.setting.architecture, self.setting.tokenizer.speech_id)

    @override
    def load(self, model: Echo) -> None:
        s2t, t2c = self.setting.source_models["s2t"].weights, self.setting.source_models["t2c"].weights
        load_weights(model.s2t, load_file(s2t), s2t)
        tensors = {name: tensor for name, tensor in load_file(t2c).items() if name.startswith("words.")}
        words = {name.removeprefix("words."): tensor for name, tensor in tensors.items()}
        load_weights(model.t2c, words, t2c)
        load_weights(model.words, words, t2c)  # not a copy of `t2c`, whose dtype may be bfloat16

    @override
    def frozen_files(self) -> Mapping[str, Sequence[Path]]:
        return {f"{stage}.": [self.setting.source_models[stage].weights] for stage in self.stands_on}

    @override
    def freeze(self, model: Echo) -> None:
        model.freeze(train_s2t=self._trains_s2t)

    @override
    def prepare(self, model: Echo, batch: SpokenBatch) -> Targets:
        config = self.setting.config
        if config.targets == "annotated":
            return Targets(batch.inputs, Segments.whole(batch.inputs.response.lengths_B), batch.words)
        inputs = self._answered(model, batch.inputs) if config.targets == "pseudo" else batch.inputs
        segments = self._cut(inputs.response)
        prefix = model.text_prefix(segments.of(inputs.response))
        return Targets(inputs, segments, write_words(model.t2c, prefix, max_new_tokens=config.max_words))

    @override
    def objective(self, model: Echo, batch: SpokenBatch, prepared: Targets) -> Objective:
        output = model(prepared.inputs, prepared.segments, prepared.words, with_response=self._trains_s2t)
        return echo_objective(output, self.setting.config.loss)

    @override
    def measure(self, model: Echo, batch: SpokenBatch, prepared: Targets) -> Mapping[str, Share]:
        output = model(prepared.inputs, prepared.segments, prepared.words)
        prefix = model.wrap(output.denoised)
        written = write_words(model.words, prefix, max_new_tokens=self.setting.config.max_words)
        return {
            "word_accuracy": token_accuracy(output.words),
            "sequence_accuracy": sequence_accuracy(output.words),
            "unit_error_rate": unit_errors(self.setting.corpus.unit_language, written, prepared.words),
            "cosine": cosine(output.denoised, output.text),
        }

    def _answered(self, model: Echo, inputs: S2TInputs) -> S2TInputs:
        """Return the same questions with S2T's own answers."""
        end = self.setting.tokenizer.special(END_OF_TURN)
        most = self.setting.config.max_new_tokens
        written = answer(model.s2t, inputs.speech, inputs.prompt, end=end, max_new_tokens=most)
        return replace(inputs, response=written.tokens.append(end))

    def _cut(self, responses: Ragged) -> Segments:
        config = self.setting.config.segments
        if config is None:
            return Segments.whole(responses.lengths_B)
        return cut(responses, self._ends_sentence, config.shortest, config.longest)

    def _ends_sentence(self, token: int) -> bool:
        return self.setting.tokenizer.decode([token]).rstrip().endswith(SENTENCE_ENDS)
