"""Stage echo: from the language model's states to the words that T2C would say (EchoX, arXiv:2509.09174)."""

# Shapes: B = examples, S = segments of their answers, W = words.

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from safetensors.torch import load_file
from typing_extensions import override

from echox.checkpoints import load_weights
from echox.data.reading import Reading
from echox.data.speech import SpokenBatch, SpokenExample
from echox.generation import answer, write_words
from echox.metrics import Share, agreement, cosine, token_accuracy, unit_errors
from echox.models.echo import Echo, Segments
from echox.models.ragged import Ragged
from echox.models.s2t import S2TInputs
from echox.objectives import Objective, echo_objective
from echox.recipes.config import EchoStage
from echox.recipes.segments import SENTENCE_ENDS, cut
from echox.recipes.stage import Stage
from echox.recipes.stages.s2t import speech_of
from echox.text.tokenizer import END_OF_TURN


@dataclass(frozen=True)
class Targets:
    """What the Echo decoder learns to say, and from which states.

    Attributes:
        inputs: with the answers whose states they are: S2T's own or the annotated ones.
        segments: of the answers.
        words: (S, W) of each segment.
    """

    inputs: S2TInputs
    segments: Segments
    words: Ragged


class SpeechToSpeech(Stage[EchoStage, SpokenBatch, Echo]):
    """See `Stage`."""

    name: ClassVar[str] = "echo"
    measures: ClassVar[tuple[str, ...]] = ("word_accuracy", "agreement", "unit_error_rate", "cosine")

    @property
    def parts(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Names of the loss's parts; the answer's is there where it has a weight."""
        return ("words", "denoising", *(("response",) if self._trains_s2t else ()))

    @property
    @override
    def prepares(self) -> bool:
        return self.setting.config.targets != "annotated"

    @property
    @override
    def leaves_out(self) -> bool:
        """S2T's CTC head, which only stage s2t trains."""
        return self._trains_s2t

    @property
    def _trains_s2t(self) -> bool:
        return self.setting.config.loss.s2t_weight > 0

    @override
    def reading(self) -> Reading[SpokenExample]:
        return speech_of("echo", self.setting)

    @override
    def build(self) -> Echo:
        return Echo(self.setting.architecture, self.setting.tokenizer.speech_id)

    @override
    def load(self, model: Echo) -> None:
        s2t, t2c = self.setting.parts["s2t"].weights, self.setting.parts["t2c"].weights
        load_weights(model.s2t, load_file(s2t), s2t)
        words = {name: tensor for name, tensor in load_file(t2c).items() if name.startswith("words.")}
        load_weights(model.t2c, {name.removeprefix("words."): tensor for name, tensor in words.items()}, t2c)
        model.start_from_t2c()

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
        return Targets(inputs, segments, write_words(model.t2c, prefix, limit=config.max_words))

    @override
    def objective(self, model: Echo, batch: SpokenBatch, prepared: Targets) -> Objective:
        output = model(prepared.inputs, prepared.segments, prepared.words, with_response=self._trains_s2t)
        return echo_objective(output, self.setting.config.loss)

    @override
    def measure(self, model: Echo, batch: SpokenBatch, prepared: Targets) -> Mapping[str, Share]:
        output = model(prepared.inputs, prepared.segments, prepared.words)
        written = write_words(model.words, model.frame(output.denoised), limit=self.setting.config.max_words)
        return {
            "word_accuracy": token_accuracy(output.words),
            "agreement": agreement(output.words),
            "unit_error_rate": unit_errors(self.setting.corpus.unit_language, written, prepared.words),
            "cosine": cosine(output.denoised, output.text),
        }

    def _answered(self, model: Echo, inputs: S2TInputs) -> S2TInputs:
        """The same questions with S2T's own answers."""
        end = self.setting.tokenizer.special(END_OF_TURN)
        limit = self.setting.config.max_answer
        written = answer(model.s2t, inputs.speech, inputs.prompt, end=end, limit=limit)
        return replace(inputs, response=written.tokens.append(end))

    def _cut(self, responses: Ragged) -> Segments:
        config = self.setting.config.segments
        if config is None:
            return Segments.whole(responses.lengths_B)
        return cut(responses, self._ends_sentence, config.shortest, config.longest)

    def _ends_sentence(self, token: int) -> bool:
        return self.setting.tokenizer.decode([token]).rstrip().endswith(SENTENCE_ENDS)
