"""Named architectures, and architectures from YAML files."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from echox.errors import EchoxError
from echox.models.adapter import AdapterConfig
from echox.models.config import PartConfig
from echox.models.decoder import DecoderConfig, RopeScaling
from echox.models.echo import EchoConfig
from echox.models.encoder import EncoderConfig
from echox.models.language_model import LanguageModelConfig
from echox.models.t2c import T2CConfig, t2c_layers
from echox.renamed import rename_fields

LLAMA3_VOCABULARY = 128_256
WORDS = 8_192
"""Words of the unit language, until `with_vocabularies` sets the number that a corpus has."""


@dataclass(frozen=True, kw_only=True)
class Architecture(PartConfig):
    """The parts of an EchoX model."""

    encoder: EncoderConfig
    """Speech encoder."""
    adapter: AdapterConfig
    """Adapter from the encoder's states to the language model's embeddings."""
    llm: LanguageModelConfig
    """Language model, which answers in text."""
    t2c: T2CConfig
    """Decoder from text to words of the unit language."""
    echo: EchoConfig
    """Denoising adapter between the language model's states and the Echo decoder."""

    def __post_init__(self) -> None:
        if (self.t2c.text_hidden_size, self.t2c.text_vocabulary) != (self.llm.decoder.hidden_size, self.llm.vocabulary):
            raise EchoxError(
                "t2c.text_hidden_size and t2c.text_vocabulary: must be llm.decoder.hidden_size and llm.vocabulary"
            )
        if self.llm.decoder.hidden_size % self.adapter.heads:
            raise EchoxError(f"adapter.heads {self.adapter.heads}: must divide llm.decoder.hidden_size")

    def with_vocabularies(self, text: int, words: int) -> "Architecture":
        """Return the same architecture for a tokenizer's number of tokens and a unit language's number of words."""
        return replace(
            self,
            llm=replace(self.llm, vocabulary=text),
            t2c=replace(self.t2c, text_vocabulary=text, words=words),
        )


def load_architecture(name: str) -> Architecture:
    """Return a named architecture, or the architecture of a YAML file.

    Raises:
        EchoxError: there is no such name or file, or the file is not an architecture.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    path = Path(name)
    if not path.is_file():
        raise EchoxError(f"architecture {name!r}: neither a file nor one of {', '.join(ARCHITECTURES)}")
    try:
        values = rename_fields(yaml.safe_load(path.read_text()), str(path))
        return TypeAdapter(Architecture).validate_python(values)
    except yaml.YAMLError as error:
        raise EchoxError(f"{path}: not a YAML file: {error}") from None
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise EchoxError("\n".join([f"{path}: not an architecture:", *faults])) from None


def dump_architecture(architecture: Architecture) -> dict[str, Any]:
    """Return plain values, which `load_architecture` reads back from YAML."""
    return TypeAdapter(Architecture).dump_python(architecture, mode="json")


def _released(llm: LanguageModelConfig) -> Architecture:
    """Return the released family: Whisper large-v3, a Llama 3, T2C medium."""
    return Architecture(
        encoder=EncoderConfig(layers=32, hidden_size=1280, heads=20, intermediate_size=5120),
        adapter=AdapterConfig(heads=llm.decoder.heads),
        llm=llm,
        t2c=T2CConfig(
            decoder=t2c_layers("medium", llm.decoder),
            text_hidden_size=llm.decoder.hidden_size,
            text_vocabulary=llm.vocabulary,
            words=WORDS,
        ),
        echo=EchoConfig(inner=llm.decoder.intermediate_size),
    )


def _llama3(
    hidden_size: int, layers: int, heads: int, intermediate_size: int, *, factor: float, tied: bool
) -> Architecture:
    decoder = DecoderConfig(
        layers=layers,
        hidden_size=hidden_size,
        heads=heads,
        key_value_heads=8,
        intermediate_size=intermediate_size,
        max_length=8192,
        rope_scaling=RopeScaling(factor=factor),
    )
    return _released(LanguageModelConfig(decoder=decoder, vocabulary=LLAMA3_VOCABULARY, tied=tied))


def _tiny() -> Architecture:
    """Return a model for minutes on a CPU, all of it trained from random weights."""
    decoder = DecoderConfig(
        layers=3, hidden_size=96, heads=4, key_value_heads=2, intermediate_size=256, max_length=1024
    )
    text = 512
    return Architecture(
        encoder=EncoderConfig(
            layers=2, hidden_size=64, heads=4, intermediate_size=256, mels=80, full_window=False, trainable=True
        ),
        adapter=AdapterConfig(heads=4),
        llm=LanguageModelConfig(decoder=decoder, vocabulary=text, trainable="all"),
        t2c=T2CConfig(
            decoder=replace(decoder, layers=2, max_length=2048), text_hidden_size=96, text_vocabulary=text, words=512
        ),
        echo=EchoConfig(inner=256),
    )


ARCHITECTURES: dict[str, Architecture] = {
    "tiny": _tiny(),
    "echox-3b": _llama3(3072, 28, 24, 8192, factor=32.0, tied=True),
    "echox-8b": _llama3(4096, 32, 32, 14336, factor=8.0, tied=False),
}
"""Architectures by name."""
