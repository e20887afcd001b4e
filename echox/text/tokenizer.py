"""The interface of tokenizers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

BEGIN_OF_TEXT = "<|begin_of_text|>"
START_HEADER = "<|start_header_id|>"
END_HEADER = "<|end_header_id|>"
END_OF_TURN = "<|eot_id|>"
"""The special tokens of Llama 3 Instruct's chat format; every tokenizer here has them."""


class TextTokenizer(Protocol):
    """Text to ids of a language model's vocabulary, and back.

    Attributes:
        vocab_size: ids are below this, special tokens included.
        speech_id: the placeholder of speech in a prompt, and the blank of CTC.
        fingerprint: SHA-256 (hex) of the tokenizer's file.
    """

    vocab_size: int
    speech_id: int
    fingerprint: str

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, which never include special tokens."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special tokens."""
        ...

    def special(self, token: str) -> int:
        """Return the id of one of the four special tokens of this module."""
        ...

    def save(self, folder: Path) -> None:
        """Write the tokenizer's file; `load_tokenizer` reads it."""
        ...
