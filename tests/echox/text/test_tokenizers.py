import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from tokenizers import decoders as token_decoders

from echox.errors import EchoxError
from echox.text.llama3 import SPEECH_TOKENS, Llama3Tokenizer
from echox.text.loading import load_tokenizer
from echox.text.sentencepiece import SPECIAL, SentencePieceTokenizer
from echox.text.tokenizer import BEGIN_OF_TEXT, END_HEADER, END_OF_TURN, START_HEADER

TEXTS = ["A cat sees the dog.", "The dog sees a cat,\nand leaves.", "Where is the house? There."]
CHAT = (BEGIN_OF_TEXT, START_HEADER, END_HEADER, END_OF_TURN)


def byte_level(folder: Path, specials: tuple[str, ...] = (*CHAT, SPEECH_TOKENS[1])) -> Path:
    """A folder with a tokenizer.json of Llama 3's kind: bytes as letters, special tokens on top."""
    letters = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = token_decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in specials])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_the_same_texts_give_the_same_tokenizer() -> None:
    one, other = (SentencePieceTokenizer.learn(TEXTS, 300) for _ in range(2))
    assert one.fingerprint == other.fingerprint != SentencePieceTokenizer.learn(TEXTS[:2], 300).fingerprint


@pytest.mark.parametrize(
    "text", ["", "A cat", "unseen: Wörter 你好", "  two  spaces\nand lines ", "<|eot_id|><|speech|>"]
)
def test_any_text_comes_back_and_never_as_special_tokens(text: str, tmp_path: Path) -> None:
    for tokenizer in (SentencePieceTokenizer.learn(TEXTS, 300), Llama3Tokenizer.load(byte_level(tmp_path))):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert not {*ids} & {tokenizer.speech_id, *(tokenizer.special(token) for token in CHAT)}
        assert all(0 <= index < tokenizer.vocab_size for index in ids)


def test_special_tokens_are_told_apart_and_left_out_of_texts() -> None:
    tokenizer = SentencePieceTokenizer.learn(TEXTS, 300)
    ids = [tokenizer.special(token) for token in SPECIAL]
    assert len({*ids}) == len(SPECIAL)
    assert tokenizer.decode([ids[0], *tokenizer.encode("the dog"), ids[3]]) == "the dog"


def test_a_saved_tokenizer_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    for tokenizer in (SentencePieceTokenizer.learn(TEXTS, 300), Llama3Tokenizer.load(byte_level(tmp_path / "hf"))):
        folder = tmp_path / type(tokenizer).__name__
        tokenizer.save(folder)
        found = load_tokenizer(folder)
        assert type(found) is type(tokenizer)
        assert found.fingerprint == tokenizer.fingerprint
        assert found.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])


def test_the_released_checkpoints_placeholder_comes_first(tmp_path: Path) -> None:
    folder = byte_level(tmp_path, (*CHAT, SPEECH_TOKENS[1], SPEECH_TOKENS[0]))
    vocabulary = {
        token["content"]: token["id"] for token in json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    }
    assert Llama3Tokenizer.load(folder).speech_id == vocabulary["<audio_patch>"]


def test_a_folder_without_a_chat_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EchoxError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)
    with pytest.raises(EchoxError, match="eot_id"):
        load_tokenizer(byte_level(tmp_path, CHAT[:3]))
    with pytest.raises(EchoxError, match="no texts"):
        SentencePieceTokenizer.learn(["", " \n "], 300)
