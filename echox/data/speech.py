"""Examples and batches of the stages with speech: a spoken request and its answer, with its words or without."""

# Shapes: B = examples, P = tokens of a prompt, R = tokens of a response, C = tokens of a transcript, W = words.

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NotRequired, TypedDict

import torch
from torch.nn.utils.rnn import pad_sequence

from echox.data.features import SpeechFeatures
from echox.data.reading import Reading
from echox.models.ragged import Ragged
from echox.models.s2t import S2TInputs
from echox.text.prompts import Prompter

SAMPLES_OF_A_POSITION = 640
"""Hop of the adapter's frames, 25/s; each takes a position in the prompt unless it is dropped. CTC scores all of them,
also those of the silence that fills a window of Whisper: in stage s2t they are most of the memory."""


class SpokenRow(TypedDict):
    """One row of a training table with speech."""

    audio: bytes
    num_samples: int
    prompt: str
    transcript: str | None
    response: str
    words: NotRequired[list[int]]


@dataclass(frozen=True)
class SpokenExample:
    """One spoken request, tokenised.

    Attributes:
        audio: encoded audio, 16 kHz, mono.
        num_samples: samples that the encoder reads, silence included.
        prompt: ids with the placeholder once.
        transcript: ids of the transcript; empty where it is unknown.
        response: ids of the answer up to the end of the turn.
        words: words of the spoken answer; empty where they are not read.
    """

    audio: bytes
    num_samples: int
    prompt: list[int]
    transcript: list[int]
    response: list[int]
    words: list[int] = field(default_factory=list[int])

    @property
    def length(self) -> int:
        """See `Example`."""
        return -(-self.num_samples // SAMPLES_OF_A_POSITION) + len(self.prompt) + len(self.response)


class SpokenBatch:
    """A batch of spoken requests, with waveforms until the encoder's inputs are first asked for.

    So these are computed for all examples together, on the device to which the batch was brought before.
    """

    def __init__(self, heard: S2TInputs, words: Ragged, features: SpeechFeatures) -> None:
        """Make a batch on the host.

        Args:
            heard: the inputs of S2T, with waveforms as their speech.
            words: (B, W) ids in the unit language; of length 0 where they are not read.
            features: makes the encoder's inputs from waveforms.
        """
        self._heard = heard
        self._features = features
        self.words = words
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
        self.__dict__.pop("inputs", None)


def spoken_reading(
    table: str, prompter: Prompter, features: SpeechFeatures, *, with_words: bool
) -> Reading[SpokenExample]:
    """Return how a table with speech is read.

    Args:
        table: name of the training table.
        prompter: makes prompts and answers.
        features: makes what the encoder reads from encoded audio.
        with_words: read the words of the spoken answers too.
    """
    columns = ("audio", "num_samples", "prompt", "transcript", "response", *(("words",) if with_words else ()))

    def example(row: SpokenRow) -> SpokenExample:
        return SpokenExample(
            audio=row["audio"],
            num_samples=features.seen(row["num_samples"]),
            prompt=prompter.speech_request(row["prompt"]),
            transcript=prompter.tokenizer.encode((row["transcript"] or "").strip()),
            response=prompter.answer(row["response"]),
            words=row.get("words", []),
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
        return SpokenBatch(heard, Ragged.of([item.words for item in examples]), features)

    return Reading(table, columns, example, collate, audio=("audio",))
