"""Stage echo: train a decoder to write, from the language model's states, the words that T2C writes for their text.

EchoX, arXiv:2509.09174.
"""

# Shapes: B = examples, S = segments of their answers, W = words.

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import model_validator
from safetensors.torch import load_file
from typing_extensions import override

from echox.checkpoints import load_weights
from echox.data.reading import Reading
from echox.data.speech import SpokenBatch, SpokenExample
from echox.generation import answer, evaluating, write_words
from echox.metrics import Share, cosine, sequence_accuracy, token_accuracy, unit_errors
from echox.models.echo import Echo, Segments
from echox.models.initial import InitialWeights
from echox.models.ragged import Ragged
from echox.models.s2t import S2TInputs
from echox.objectives import EchoLossConfig, Objective, echo_objective
from echox.recipes.config import Positive, SpokenStageConfig, StageConfig, tiny_defaults
from echox.recipes.stage import Stage
from echox.recipes.stages.s2t import speech_of
from echox.renamed import warn_renamed
from echox.segments.cutting import SentencesConfig, cut_at_sentences, cut_by_trigger, rename_segments
from echox.segments.sentences import Sentences
from echox.segments.trigger import TriggerConfig
from echox.text.tokenizer import END_OF_TURN


class EchoStageConfig(SpokenStageConfig):
    """Settings of stage echo."""

    targets: Literal["pseudo", "pseudo_from_text", "annotated"] = "pseudo"
    """Words to learn: T2C's for the answer of S2T as its run left it, T2C's for the annotated answer, or the annotated
    words."""
    segments: Literal["sentences", "trigger", "whole"] = "sentences"
    """Where answers are cut: at ends of sentences, where streaming cuts, or nowhere, as always with `annotated`."""
    sentences: SentencesConfig = SentencesConfig()
    """Lengths of segments that end with sentences."""
    trigger: TriggerConfig = TriggerConfig()
    """Numbers of the streaming trigger."""
    max_words: Positive = 1_024
    """Most words of a segment."""
    loss: EchoLossConfig = EchoLossConfig()
    """The loss."""

    @model_validator(mode="before")
    @classmethod
    def _old_segments(cls, values: Any) -> Any:
        new = rename_segments(values)
        if new is not values:
            old = "segments.shortest, segments.longest and segments=null"
            warn_renamed(old, "sentences.shortest, sentences.longest and segments=whole", "settings")
        return new


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
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": tiny_defaults(60, max_new_tokens=32, max_words=128, loss={"s2t_weight": 0.0})
    }
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
    def _trains_s2t(self) -> bool:
        return self.setting.config.loss.s2t_weight > 0

    @override
    def reading(self) -> Reading[SpokenExample]:
        return speech_of(self.table, self.setting, with_words=self.setting.config.targets == "annotated")

    @override
    def build(self) -> Echo:
        return Echo(self.setting.architecture, self.setting.tokenizer.speech_id)

    @override
    def load(self, model: Echo) -> None:
        s2t, t2c = self.setting.source_models["s2t"].weights, self.setting.source_models["t2c"].weights
        load_weights(model.s2t, load_file(s2t), s2t)
        words = {name: tensor for name, tensor in load_file(t2c).items() if name.startswith("words.")}
        load_weights(model.t2c, {name.removeprefix("words."): tensor for name, tensor in words.items()}, t2c)
        model.start_from_t2c()

    @override
    def freeze(self, model: Echo) -> None:
        model.freeze(train_s2t=self._trains_s2t)
        trained = [name for name, weight in model.s2t.llm.named_parameters() if weight.requires_grad]
        self._initial = InitialWeights.read(self.setting.source_models["s2t"].weights, trained, "llm.")

    @override
    def prepare(self, model: Echo, batch: SpokenBatch) -> Targets:
        config = self.setting.config
        if config.targets == "annotated":
            return Targets(batch.inputs, Segments.whole(batch.inputs.response.lengths_B), batch.words)
        with evaluating(model), self._initial.inside(model.s2t.llm):
            inputs, states = self._answered(model, batch.inputs)
            segments = self._cut(model, inputs, states)
            prefix = model.text_prefix(segments.of(inputs.response))
            words = write_words(model.t2c, prefix, max_new_tokens=config.max_words)
        return Targets(inputs, segments, words)

    @override
    def objective(self, model: Echo, batch: SpokenBatch, prepared: Targets) -> Objective:
        other = self._trains_s2t and prepared.inputs is not batch.inputs
        output = model(
            prepared.inputs,
            prepared.segments,
            prepared.words,
            with_response=self._trains_s2t,
            annotated=batch.inputs.response if other else None,
        )
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

    def _answered(self, model: Echo, inputs: S2TInputs) -> tuple[S2TInputs, Ragged | None]:
        """Return the same questions with the answers to be spoken, and the states that wrote these, if S2T did."""
        if self.setting.config.targets == "pseudo_from_text":
            return inputs, None
        end = self.setting.tokenizer.special(END_OF_TURN)
        most = self.setting.config.max_new_tokens
        written = answer(model.s2t, inputs.speech, inputs.prompt, end=end, max_new_tokens=most)
        return replace(inputs, response=written.tokens.append(end)), written.states

    def _cut(self, model: Echo, inputs: S2TInputs, states: Ragged | None) -> Segments:
        config, responses = self.setting.config, inputs.response
        match config.segments:
            case "whole":
                return Segments.whole(responses.lengths_B)
            case "sentences":
                return cut_at_sentences(responses, self._sentences, config.sentences)
            case "trigger":
                states = states or model.s2t.states(model.s2t.prefix(inputs.speech, inputs.prompt), responses)
                full_stop = self.setting.tokenizer.encode(".")[-1]
                return cut_by_trigger(responses, states, model.s2t.llm.head_row(full_stop), config.trigger)

    @cached_property
    def _sentences(self) -> Sentences:
        return Sentences(self.setting.tokenizer)
