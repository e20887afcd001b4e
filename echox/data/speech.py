"""Examples and batches of stages s2t and echo: a spoken question and its answer, with its words or without."""

# Shapes: B = examples, P = tokens of a prompt, R = tokens of a response, C = tokens of a transcript, W = words.

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch.nn.utils.rnn import pad_sequence

from echox.data.features import SpeechFeatures
from echox.data.reading import Reading, Row
from echox.models.ragged import Ragged
from echox.models.s2t import S2TInputs
from echox.text.prompts import Prompter

SAMPLES_OF_A_POSITION = 640
"""The adapter's frames, 25/s, of which each takes a position in the prompt unless it is shrunk away. CTC scores all
of them, those of the silence too that fills a window of Whisper: in stage s2t they are most of the memory."""


@dataclass(frozen=True)
class SpokenExample:
    """One question.

    Attributes:
        audio: encoded, 16 kHz, mono.
        num_samples: that the encoder sees.
        prompt: ids with the placeholder once.
        transcript: ids of what is said; empty where it is unknown.
        response: ids of the answer up to the end of the turn.
        words: of the spoken answer; empty in stage s2t.
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


@dataclass
class SpokenBatch:
    """Some questions.

    Attributes:
        inputs: as S2T takes them.
        words: (B, W) ids in the unit language; of no length in stage s2t.
    """

    inputs: S2TInputs
    words: Ragged

    @property
    def num_examples(self) -> int:
        """See `Batch`."""
        return len(self.inputs.prompt.lengths_B)

    @property
    def num_positions(self) -> int:
        """See `Batch`; the speech is left out, as how much of it stays is the adapter's to say."""
        return int(self.inputs.prompt.lengths_B.sum() + self.inputs.response.lengths_B.sum())

    def to(self, device: torch.device, *, non_blocking: bool = False) -> None:
        """See `Batch`."""
        self.inputs = self.inputs.to(device, non_blocking=non_blocking)
        self.words = self.words.to(device, non_blocking=non_blocking)


def spoken_reading(table: str, prompter: Prompter, features: SpeechFeatures) -> Reading[SpokenExample]:
    """How stages s2t and echo read their tables."""
    columns = ("audio", "num_samples", "prompt", "transcript", "response", *(("words",) if table == "echo" else ()))

    def example(row: Row) -> SpokenExample:
        return SpokenExample(
            audio=row["audio"],
            num_samples=features.seen(row["num_samples"]),
            prompt=prompter.speech_request(row["prompt"]),
            transcript=prompter.tokenizer.encode((row["transcript"] or "").strip()),
            response=prompter.answer(row["response"]),
            words=row.get("words", []),
        )

    def collate(examples: Sequence[SpokenExample]) -> SpokenBatch:
        speech = [features(item.audio) for item in examples]
        lengths_B = torch.tensor([len(item) for item in speech])
        inputs = S2TInputs(
            speech=Ragged(pad_sequence(speech, batch_first=True), lengths_B),
            prompt=Ragged.of([item.prompt for item in examples]),
            response=Ragged.of([item.response for item in examples]),
            transcript=Ragged.of([item.transcript for item in examples]),
        )
        return SpokenBatch(inputs, Ragged.of([item.words for item in examples]))

    return Reading(table, columns, example, collate)
