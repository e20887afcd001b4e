"""Small parts that the tests of this folder share."""

from dataclasses import replace

import torch

from echox.architectures import Architecture
from echox.models.adapter import AdapterConfig
from echox.models.decoder import DecoderConfig
from echox.models.echo import EchoConfig
from echox.models.encoder import EncoderConfig
from echox.models.language_model import LanguageModelConfig
from echox.models.ragged import Ragged
from echox.models.s2t import S2TInputs
from echox.models.t2c import T2CConfig

TEXT, WORDS, PLACEHOLDER, END = 60, 30, 3, 2
DECODER = DecoderConfig(layers=2, hidden_size=32, heads=4, key_value_heads=2, intermediate_size=48, max_length=256)
ARCHITECTURE = Architecture(
    encoder=EncoderConfig(
        layers=2,
        hidden_size=16,
        heads=2,
        intermediate_size=32,
        mels=8,
        max_frames=100,
        full_window=False,
        trainable=True,
    ),
    adapter=AdapterConfig(heads=4),
    llm=LanguageModelConfig(decoder=DECODER, vocabulary=TEXT, trainable="all"),
    t2c=T2CConfig(
        decoder=replace(DECODER, hidden_size=24, key_value_heads=4),
        text_hidden_size=32,
        text_vocabulary=TEXT,
        words=WORDS,
        before=(4, 5),
        after=(6,),
    ),
    echo=EchoConfig(inner=40),
)


def speech(*frames: int, mels: int = 8) -> Ragged:
    """Random log-mel frames with noise, not zeros, as padding."""
    return Ragged(torch.randn(len(frames), max(frames), mels), torch.tensor(frames))


def inputs() -> S2TInputs:
    """Three examples of different lengths everywhere, one without a transcript."""
    return S2TInputs(
        speech(60, 33, 48),
        Ragged.of([[10, PLACEHOLDER, 11], [10, 12, 13, PLACEHOLDER, 14, 15], [PLACEHOLDER]]),
        Ragged.of([[20, 21, 22, END], [23, END], [24, 25, 26, 27, 28, END]]),
        Ragged.of([[30, 31, 31], [], [32, 33]]),
    )


def one(ragged: Ragged, index: int) -> Ragged:
    """One example by itself, without padding."""
    length = int(ragged.lengths_B[index])
    return Ragged(ragged.values_BL[index : index + 1, :length], ragged.lengths_B[index : index + 1])


def one_input(batch: S2TInputs, index: int) -> S2TInputs:
    """One example of a batch by itself."""
    return S2TInputs(*(one(part, index) for part in (batch.speech, batch.prompt, batch.response, batch.transcript)))
