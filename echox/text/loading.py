"""Tokenizers from local folders."""

from pathlib import Path

from echox.errors import EchoxError
from echox.text.llama3 import Llama3Tokenizer
from echox.text.sentencepiece import SentencePieceTokenizer
from echox.text.tokenizer import TextTokenizer


def load_tokenizer(folder: Path) -> TextTokenizer:
    """Return the tokenizer of a local Hugging Face folder (`tokenizer.json`) or of a run (`tokenizer.model`).

    Raises:
        EchoxError: the folder has neither, or the tokenizer lacks the tokens of the chat format.
    """
    for loader in (Llama3Tokenizer, SentencePieceTokenizer):
        if (folder / loader.FILE).is_file():
            return loader.load(folder)
    files = f"{Llama3Tokenizer.FILE} and no {SentencePieceTokenizer.FILE}"
    raise EchoxError(f"{folder}: no {files} there; give the folder of a Llama 3 Instruct checkpoint")
