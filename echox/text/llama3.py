"""The tokenizer of Llama 3 Instruct, from a local Hugging Face folder."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from tokenizers import Tokenizer

from echox.errors import EchoxError
from echox.text.tokenizer import BEGIN_OF_TEXT, END_HEADER, END_OF_TURN, START_HEADER

SPEECH_TOKENS = ("<audio_patch>", "<|reserved_special_token_0|>")
"""Placeholders of speech; the first in the vocabulary is used: the released checkpoints' own, or a spare one."""


class Llama3Tokenizer:
    """The tokenizer of Llama 3; see `TextTokenizer`."""

    FILE: ClassVar[str] = "tokenizer.json"

    def __init__(self, content: bytes, source: str) -> None:
        self._content = content
        self._tokenizer = Tokenizer.from_str(content.decode())
        self._tokenizer.encode_special_tokens = True  # text that looks like a special token stays text
        ids = {token: self._tokenizer.token_to_id(token) for token in _SPECIAL}
        self._special = {token: index for token, index in ids.items() if index is not None}
        if missing := [token for token in _SPECIAL if token not in self._special]:
            raise EchoxError(f"{source}: no {', '.join(missing)} in the vocabulary; give an Instruct model of Llama 3")
        self.speech_id = self._speech_id(source)
        self.vocab_size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.fingerprint = hashlib.sha256(content).hexdigest()

    def _speech_id(self, source: str) -> int:
        found = (self._tokenizer.token_to_id(token) for token in SPEECH_TOKENS)
        index = next((index for index in found if index is not None), None)
        if index is None:
            raise EchoxError(f"{source}: none of {', '.join(SPEECH_TOKENS)} in the vocabulary, for speech")
        return index

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load the tokenizer of a folder with a `tokenizer.json`.

        Raises:
            EchoxError: the vocabulary lacks special tokens.
        """
        path = folder / cls.FILE
        return cls(path.read_bytes(), str(path))

    def encode(self, text: str) -> list[int]:
        """See `TextTokenizer.encode`."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer.decode`."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def special(self, token: str) -> int:
        """See `TextTokenizer.special`."""
        return self._special[token]

    def save(self, folder: Path) -> None:
        """See `TextTokenizer.save`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.FILE).write_bytes(self._content)


_SPECIAL = (BEGIN_OF_TEXT, START_HEADER, END_HEADER, END_OF_TURN)
