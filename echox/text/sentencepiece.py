"""A small text tokenizer learnt from a corpus, for architectures without a pretrained language model."""

import hashlib
import io
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import ClassVar, Self

import sentencepiece

from echox.errors import EchoxError
from echox.text.tokenizer import BEGIN_OF_TEXT, END_HEADER, END_OF_TURN, START_HEADER

SPEECH = "<|speech|>"
SPECIAL = (BEGIN_OF_TEXT, START_HEADER, END_HEADER, END_OF_TURN, SPEECH)
"""Control tokens: no text is ever encoded to them."""
UNKNOWN = 0
MAX_LINES = 200_000
"""Most lines to learn from; more change little."""
MAX_LINE_BYTES = 4192
"""SentencePiece's own limit; it skips longer lines."""


class SentencePieceTokenizer:
    """A SentencePiece tokenizer; see `TextTokenizer`. Id 0, `<unk>`, never occurs, because of the byte fallback."""

    FILE: ClassVar[str] = "tokenizer.model"

    def __init__(self, model: bytes, source: str) -> None:
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        if missing := [token for token in SPECIAL if self._processor.PieceToId(token) == UNKNOWN]:
            raise EchoxError(f"{source}: no {', '.join(missing)} in the vocabulary; it is not a tokenizer of a run")
        self.speech_id = self.special(SPEECH)
        self.vocab_size = self._processor.GetPieceSize()
        self.fingerprint = hashlib.sha256(model).hexdigest()

    @classmethod
    def learn(cls, texts: Iterable[str], vocab_size: int) -> Self:
        """Learn a BPE vocabulary; the same texts in the same order give the same bytes.

        Args:
            texts: texts of any number of lines; read once, up to `MAX_LINES`.
            vocab_size: most ids, including 256 bytes, 5 special tokens and `<unk>`; fewer for few texts.

        Raises:
            EchoxError: there is no text, or the vocabulary is too small for the texts' characters.
        """
        lines = list(islice((line for text in texts for line in text.splitlines() if line.strip()), MAX_LINES))
        if not lines:
            raise EchoxError("the corpus has no texts to learn a tokenizer from; name an `llm.checkpoint` instead")
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=iter(lines),
                model_writer=model,
                model_type="bpe",
                vocab_size=vocab_size,
                hard_vocab_limit=False,
                character_coverage=1.0,
                byte_fallback=True,
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                control_symbols=list(SPECIAL),
                bos_id=-1,
                eos_id=-1,
                pad_id=-1,
                num_threads=1,
                max_sentence_length=MAX_LINE_BYTES,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise EchoxError(f"cannot learn a tokenizer of {vocab_size} tokens: {error}; change its size") from error
        return cls(model.getvalue(), "the tokenizer just learnt")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load the tokenizer of a folder with a `tokenizer.model`.

        Raises:
            EchoxError: the vocabulary lacks special tokens.
        """
        path = folder / cls.FILE
        return cls(path.read_bytes(), str(path))

    def encode(self, text: str) -> list[int]:
        """See `TextTokenizer.encode`."""
        return self._processor.Encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer.decode`."""
        return self._processor.Decode([int(index) for index in ids])

    def special(self, token: str) -> int:
        """See `TextTokenizer.special`."""
        return self._processor.PieceToId(token)

    def save(self, folder: Path) -> None:
        """See `TextTokenizer.save`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.FILE).write_bytes(self._model)
