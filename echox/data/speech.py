"""Examples and batches of the stages with speech: a spoken request and its answer, with its words or without."""

# Shapes: B = examples, P = tokens of a prompt, R = tokens of a response, C = tokens of a transcript, W = words.

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NotRequired, TypedDict

import torch
from torch.nn.utils.rnn import pad_sequence

from echox.data.features import SpeechFeatures
from echox.data.reading import Beside, Reading
from echox.labels.batch import Label, LabelBatch
from echox.models.ragged import Ragged
from echox.models.s2t import S2TInputs
from echox.text.prompts import Prompter

SAMPLES_OF_A_POSITION = 640
"""Hop of the adapter's frames, 25/s; each takes a position in the prompt unless it is dropped. CTC scores all of them,
also those of the silence that fills a window of Whisper: in stage s2t they are most of the memory."""


class LabelRow(TypedDict):
    """The label of a row; `answer` is None if `echox label` rejected it."""

    answer: list[int] | None
    segments: list[int]
    words: list[list[int]]


LABEL_COLUMNS = ("answer", "segments", "words")


class SpokenRow(TypedDict):
    """One row of a training table with speech."""

    example_id: str
    audio: bytes
    num_samples: int
    prompt: str
    transcript: str | None
    response: str
    words: NotRequired[list[int]]
    beside: NotRequired["LabelRow"]


@dataclass(frozen=True)
class SpokenExample:
    """One spoken request, tokenised.

    Attributes:
        name: id of the example.
        audio: encoded audio, 16 kHz, mono.
        num_samples: samples that the encoder reads, silence included.
        prompt: ids with the placeholder once.
        transcript: ids of the transcript; empty where it is unknown.
        response: ids of the answer up to the end of the turn.
        words: words of the spoken answer; empty where they are not read.
        label: what `echox label` wrote; None where it is not read.
        rejected: whether `echox label` could write nothing for it.
    """

    name: str
    audio: bytes
    num_samples: int
    prompt: list[int]
    transcript: list[int]
    response: list[int]
    words: list[int] = field(default_factory=list[int])
    label: Label | None = None
    rejected: bool = False

    @property
    def length(self) -> int:
        """See `Example`; one without its label is longer than any limit, so that it is skipped and counted."""
        if self.rejected:
            return sys.maxsize
        speech = -(-self.num_samples // SAMPLES_OF_A_POSITION)
        return speech + len(self.prompt) + len(self.response) + len(self.words)


class SpokenBatch:
    """A batch of spoken requests, with waveforms until the encoder's inputs are first asked for.

    So these are computed for all examples together, on the device to which the batch was brought before.
    """

    def __init__(
        self,
        heard: S2TInputs,
        words: Ragged,
        features: SpeechFeatures,
        names: Sequence[str],
        labels: LabelBatch | None = None,
    ) -> None:
        """Make a batch on the host.

        Args:
            heard: the inputs of S2T, with waveforms as their speech.
            words: (B, W) ids in the unit language; of length 0 where they are not read.
            features: makes the encoder's inputs from waveforms.
            names: ids of the examples.
            labels: what `echox label` wrote; None where it is not read.
        """
        self._heard = heard
        self._features = features
        self.words = words
        self.names = names
        self.labels = labels
        self.num_examples = len(heard.prompt.lengths_B)
        """See `Batch`."""
        self.num_positions = int(heard.prompt.lengths_B.sum() + heard.response.lengths_B.sum())
        """See `Batch`; speech is not counted, because the adapter decides how many frames it keeps."""

    @cached_property
    def inputs(self) -> S2TInputs:
        """The inputs of S2T."""
        return replace(self._heard, speech=self._features.of_batch(self._heard.speech))

    def to(self, device: torch.device, *, non_blocking: bool = False) -> None:
        """See `Batch`."""
        self._heard = self._heard.to(device, non_blocking=non_blocking)
        self.words = self.words.to(device, non_blocking=non_blocking)
        if self.labels is not None:
            self.labels = self.labels.to(device, non_blocking=non_blocking)
        self.__dict__.pop("inputs", None)


def spoken_reading(
    table: str,
    prompter: Prompter,
    features: SpeechFeatures,
    *,
    with_words: bool,
    labels: Mapping[str, str] | None = None,
) -> Reading[SpokenExample]:
    """Return how a table with speech is read.

    Args:
        table: name of the training table.
        prompter: makes prompts and answers.
        features: makes what the encoder reads from encoded audio.
        with_words: read the words of the spoken answers too.
        labels: files of labels by the path of the file of examples; None reads none.
    """
    columns = (
        "example_id",
        "audio",
        "num_samples",
        "prompt",
        "transcript",
        "response",
        *(("words",) if with_words else ()),
    )

    def example(row: SpokenRow) -> SpokenExample:
        return SpokenExample(
            name=row["example_id"],
            audio=row["audio"],
            num_samples=features.seen(row["num_samples"]),
            prompt=prompter.speech_request(row["prompt"]),
            transcript=prompter.tokenizer.encode((row["transcript"] or "").strip()),
            response=prompter.answer(row["response"]),
            words=row.get("words", []),
            **_label_of(row.get("beside")),
        )

    def collate(examples: Sequence[SpokenExample]) -> SpokenBatch:
        speech = [features.decode(item.audio) for item in examples]
        lengths_B = torch.tensor([len(item) for item in speech])
        heard = S2TInputs(
            speech=Ragged(pad_sequence(speech, batch_first=True), lengths_B),
            prompt=Ragged.of([item.prompt for item in examples]),
            response=Ragged.of([item.response for item in examples]),
            transcript=Ragged.of([item.transcript for item in examples]),
        )
        written = [item.label for item in examples if item.label is not None]
        labelled = LabelBatch.of(written) if written else None
        words = Ragged.of([item.words for item in examples])
        return SpokenBatch(heard, words, features, [item.name for item in examples], labelled)

    beside = None if labels is None else Beside(labels, LABEL_COLUMNS)
    return Reading(table, columns, example, collate, audio=("audio",), beside=beside)


def _label_of(row: LabelRow | None) -> dict[str, Any]:
    """The fields of an example that its label determines."""
    if row is None:
        return {}
    answer = row["answer"]
    return {"rejected": True} if answer is None else {"label": Label(answer, row["segments"], row["words"])}
