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
