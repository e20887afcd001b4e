"""Where sentences end, in texts whose ends are marked with |, for tokenizers of both kinds."""

from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer

from echox.segments.sentences import Sentences, ends_sentence
from echox.text.llama3 import SPEECH_TOKENS, Llama3Tokenizer
from echox.text.sentencepiece import SentencePieceTokenizer
from echox.text.tokenizer import BEGIN_OF_TEXT, END_HEADER, END_OF_TURN, START_HEADER, TextTokenizer

MARKED = [
    "It is so.| They left!| Why?| Because.|",
    # numbers
    "Pi is 3.14 or so.| It costs $1,000.50 today.|",
    "In 2024.| Then 3.5 million left.| The 3.|",
    "1. First wash it.|\n2. Then dry it.|",
    "Take no. 5 and Fig. 2 of vol. 3.| I said no.| Then yes.|",
    "Version 2.0.1 came at 10.30 on 1.2.2024.|",
    # abbreviations
    "Dr. No and Mrs. Smith met Prof. Li.|",
    "Fruit, e.g. apples, i.e. Malus, vs. pears.|",
    "The U.S. Army and the U.K. are here.| He left.|",
    "At 5 p.m. Eastern, Ph.D. students of J. R. R. Tolkien meet.|",
    "It was I.| And you.|",
    "He works for Acme Inc.|",
    "They live in the U.S.|",
    "Apples, pears, etc.| Then bread.|",
    "Mt. Fuji and St. Ives on Jan. 5.|",
    # several marks
    "Well... I think so.| Wait... Then go...|",
    "Really?!| Yes!!!| No?| Oh . . . no.|",
    "Hm… maybe.| Hm… So be it.|",
    # quotes and brackets
    'He said "No."| She left.|',
    '"Why?" he asked.| (It was late.)| "Go!"|',
    "It’s ‘done.’| He said “Stop!”| Then quiet.|",
    # no mark, or no sentence
    "www.example.com and a.txt are names",
    "no mark at all",
    "",
    "What is Yahoo?| See example.org/a.b?c=d.e now.|",
    # scripts without blanks, and without capitals
    "你好。|再见！|谁？|走。|",
    "他说：「好。」|然后走了。|",
    "圆周率是３．１４左右。|",
    "これは。。。|はい！？|",
    "क्या है।| यह है।|",
    "ماذا؟| نعم.|",
    "all is small. yes it is.| so what?| fine.|".replace("small.", "small.|"),
]


def small() -> TextTokenizer:
    return SentencePieceTokenizer.learn([text.replace("|", "") for text in MARKED[:20]], 340)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> TextTokenizer:
    """The vocabulary of GPT-2, which Whisper has, with Llama's special tokens on top."""
    tokenizer = Tokenizer.from_str((shared_data / "models/whisper-tiny.en/tokenizer.json").read_text())
    names = (BEGIN_OF_TEXT, START_HEADER, END_HEADER, END_OF_TURN, SPEECH_TOKENS[1])
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names])
    return Llama3Tokenizer(tokenizer.to_str().encode(), "GPT-2")


@pytest.fixture(scope="module", params=["small", "real"])
def sentences(request: pytest.FixtureRequest) -> tuple[TextTokenizer, Sentences]:
    tokenizer = small() if request.param == "small" else request.getfixturevalue("real")
    return tokenizer, Sentences(tokenizer)


@pytest.mark.parametrize("marked", MARKED)
def test_sentences_end_where_they_should(marked: str, sentences: tuple[TextTokenizer, Sentences]) -> None:
    tokenizer, finder = sentences
    tokens = tokenizer.encode(marked.replace("|", ""))
    ends = finder.ends(tokens)
    pieces = [tokenizer.decode(tokens[: index + 1]) for index in ends]
    expected = [marked[:position].replace("|", "") for position, sign in enumerate(marked) if sign == "|"]
    assert [piece.rstrip() for piece in pieces] == expected
    assert all(finder.table[tokens[index]] for index in ends)


def test_the_table_over_a_real_vocabulary_says_which_tokens_end_sentences(real: TextTokenizer) -> None:
    tokenizer, table = real, Sentences(real).table
    assert len(table) == tokenizer.vocab_size
    for text in (".", "!", "?", "...", "?!", '."', ".)", "!!", "…"):
        (token,) = tokenizer.encode(text)
        assert table[token], text
    for text in (",", " the", ":", ";", "-", " Dr", "3", "\n", "$", "%"):
        (token,) = tokenizer.encode(text)
        assert not table[token], text
    assert 300 < sum(table) < 1500, "few tokens ask for a look at the text around them"


def test_a_token_may_hold_more_than_the_mark() -> None:
    """Line breaks behind it are of the sentence; with letters behind it, no sentence ends with the token."""
    assert ends_sentence("It is so.\n\n", "Then")
    assert not ends_sentence("It is so. Th", "en")
    assert ends_sentence("It is so.", "")
    assert not ends_sentence("It is so", ".")
