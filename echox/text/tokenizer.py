"""Tokenizers: what the package asks of one, and where it finds it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from echox.errors import EchoxError

BEGIN_OF_TEXT = "<|begin_of_text|>"
START_HEADER = "<|start_header_id|>"
END_HEADER = "<|end_header_id|>"
END_OF_TURN = "<|eot_id|>"
"""The special tokens of Llama 3 Instruct's chat format; every tokenizer here has them."""


class TextTokenizer(Protocol):
    """Text <-> ids of a language model's vocabulary.

    Attributes:
        vocab_size: ids are below this, special tokens included.
        speech_id: the placeholder that stands for speech in a prompt, and the blank of CTC.
        fingerprint: SHA-256 (hex) of the tokenizer's file.
    """

    vocab_size: int
    speech_id: int
    fingerprint: str

    def encode(self, text: str) -> list[int]:
        """Ids of a text; never a special token, whatever the text says."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens are left out."""
        ...

    def special(self, token: str) -> int:
        """Id of one of the four special tokens of this module."""
        ...

    def save(self, folder: Path) -> None:
        """Write the tokenizer's file; `load_tokenizer` reads it."""
        ...


def load_tokenizer(folder: Path) -> TextTokenizer:
    """The tokenizer of a local Hugging Face folder (`tokenizer.json`) or of a run (`tokenizer.model`).

    Raises:
        EchoxError: the folder has neither, or the tokenizer lacks the chat format's tokens.
    """
    from echox.text.llama3 import Llama3Tokenizer
    from echox.text.sentencepiece import SentencePieceTokenizer

    for loader in (Llama3Tokenizer, SentencePieceTokenizer):
        if (folder / loader.FILE).is_file():
            return loader.load(folder)
    files = f"{Llama3Tokenizer.FILE} and no {SentencePieceTokenizer.FILE}"
    raise EchoxError(f"{folder}: no {files} there; give the folder of a Llama 3 Instruct checkpoint")
