"""Stage echo: train a decoder to write, from the language model's states, the words that T2C writes for their text.

EchoX, arXiv:2509.09174.
"""

# Shapes: B = examples, S = segments of their answers, W = words.

import json
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator
from safetensors.torch import load_file
from typing_extensions import override

from echox.checkpoints import load_weights
from echox.data.corpus import Corpus
from echox.data.reading import Reading
from echox.data.speech import SpokenBatch, SpokenExample
from echox.decoding.generation import answer, evaluating, write_words
from echox.decoding.sampling import DecodingConfig, Draws
from echox.errors import EchoxError
from echox.labels.key import LabelKey, label_key
from echox.metrics import Share, cosine, sequence_accuracy, token_accuracy, unit_errors
from echox.models.echo import Echo, Segments
from echox.models.initial import InitialWeights
from echox.models.ragged import Ragged
from echox.models.s2t import S2TInputs
from echox.objectives import EchoLossConfig, Objective, echo_objective
from echox.recipes.config import Positive, SpokenStageConfig, StageConfig, tiny_defaults
from echox.recipes.folder import RunFolder
from echox.recipes.stage import Stage
from echox.recipes.stages.s2t import speech_of
from echox.renamed import warn_renamed
from echox.segments.cutting import SentencesConfig, cut_at_sentences, cut_by_trigger, rename_segments
from echox.segments.sentences import Sentences
from echox.segments.trigger import TriggerConfig
from echox.text.tokenizer import END_OF_TURN
from storage.labels.kept import Labels, find_labels, label_names

log = logging.getLogger(__name__)


class EchoStageConfig(SpokenStageConfig):
    """Settings of stage echo."""

    targets: Literal["pseudo", "labels", "online", "pseudo_from_text", "annotated"] = "pseudo"
    """Words to learn: T2C's for the answer of S2T as its run left it, T2C's for the annotated answer, or the annotated
    words.

    `labels`: those for S2T's own answer, as `echox label` wrote them; `online`: written anew in every step; `pseudo`:
    read where there are labels of this version, these models and settings, else written in every step.
    """
    segments: Literal["sentences", "trigger", "whole"] = "sentences"
    """Where answers are cut: at ends of sentences, where streaming cuts, or nowhere, as always with `annotated`."""
    sentences: SentencesConfig = SentencesConfig()
    """Lengths of segments that end with sentences."""
    trigger: TriggerConfig = TriggerConfig()
    """Numbers of the streaming trigger."""
    decoding: DecodingConfig | None = None
    """How S2T's answers are drawn, for instance `{}`: as the released code does; null: the best token each time."""
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
    _initial = InitialWeights({})
    """Weights that are trained further, as the run of s2t left them; none where none are."""

    @property
    def loss_parts(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Names of the parts of the loss; the response is one where it has a weight."""
        return ("words", "denoising", *(("response",) if self._trains_s2t else ()))

    @classmethod
    @override
    def check(cls, config: EchoStageConfig, corpus: Corpus, sources: Mapping[str, RunFolder]) -> None:
        if config.targets == "labels":
            _stored_labels(config, corpus, sources)

    @cached_property
    def labels(self) -> Labels | None:
        """The labels that are read instead of writing targets; None: the stage writes them, or needs none.

        Raises:
            EchoxError: the settings ask for labels, and there are none; names the command.
        """
        setting = self.setting
        if setting.config.targets == "labels":
            return _stored_labels(setting.config, setting.corpus, setting.source_models)
        if setting.config.targets != "pseudo":
            return None
        found = find_labels(setting.corpus.store, setting.corpus.version.number, self.label_key.name)
        if found is None and os.environ.get("RANK", "0") == "0":
            command = _command(setting.corpus, setting.source_models, self.label_key)
            log.warning("targets are written anew in every step; this writes them once: %s", command)
        return found

    @property
    def label_key(self) -> LabelKey:
        """Key of the labels of these models and settings."""
        return _label_key(self.setting.config, self.setting.source_models)

    @property
    @override
    def prepares(self) -> bool:
        return self.setting.config.targets != "annotated" and self.labels is None

    @property
    def _trains_s2t(self) -> bool:
        return self.setting.config.loss.s2t_weight > 0

    @override
    def reading(self) -> Reading[SpokenExample]:
        labels = self.labels
        files = None if labels is None else {path: file.path for path, file in labels.files.items()}
        annotated = self.setting.config.targets == "annotated"
        return speech_of(self.table, self.setting, with_words=annotated, labels=files)

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
        trained = [name for name, weight in model.s2t.llm.named_parameters() if weight.requires_grad]
        self._initial = InitialWeights.read(self.setting.source_models["s2t"].weights, trained, "llm.")

    @override
    def prepare(self, model: Echo, batch: SpokenBatch) -> Targets:
        config = self.setting.config
        if config.targets == "annotated":
            return Targets(batch.inputs, Segments.whole(batch.inputs.response.lengths_B), batch.words)
        if (labels := batch.labels) is not None:
            return Targets(replace(batch.inputs, response=labels.answers), labels.segments, labels.words)
        with evaluating(model), self._initial.inside(model.s2t.llm):
            inputs, states = self._answered(model, batch)
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

    def _answered(self, model: Echo, batch: SpokenBatch) -> tuple[S2TInputs, Ragged | None]:
        """Return the same questions with the answers to be spoken, and the states that wrote these, if S2T did."""
        inputs, decoding = batch.inputs, self.setting.config.decoding
        if self.setting.config.targets == "pseudo_from_text":
            return inputs, None
        end, most = self.setting.tokenizer.special(END_OF_TURN), self.setting.config.max_new_tokens
        draws = decoding and Draws.of(decoding, batch.names, most, inputs.prompt.values_BL.device)
        written = answer(model.s2t, inputs.speech, inputs.prompt, end=end, max_new_tokens=most, draws=draws)
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


def _label_key(config: EchoStageConfig, runs: Mapping[str, RunFolder]) -> LabelKey:
    return label_key({stage: runs[stage].model_fingerprint for stage in SpeechToSpeech.stands_on}, config)


def _stored_labels(config: EchoStageConfig, corpus: Corpus, runs: Mapping[str, RunFolder]) -> Labels:
    """Return the labels of a version, of these models and settings.

    Raises:
        EchoxError: there are none.
    """
    store, version, key = corpus.store, corpus.version, _label_key(config, runs)
    if found := find_labels(store, version.number, key.name):
        return found
    others = label_names(store, version.number)
    there = f"only labels of other models or settings ({', '.join(others)})" if others else "no labels"
    command = _command(corpus, runs, key)
    raise EchoxError(f"targets=labels: {version.uri} has {there}; write them: {command}; or set targets=online")


def _command(corpus: Corpus, runs: Mapping[str, RunFolder], key: LabelKey) -> str:
    """The command that writes labels."""
    folders = [part for stage in SpeechToSpeech.stands_on for part in (f"--{stage}", str(runs[stage].folder))]
    changes = [part for name, value in key.settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    return shlex.join(["echox", "label", corpus.version.uri, *folders, *changes])
