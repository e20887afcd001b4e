"""Tokens of an answer with which a sentence ends.

A full stop does not always end a sentence: "3.14", "Dr. No", "e.g. this", "U.S. law", "Well... I do". Where it is in
doubt, as in "the U.S. They", no sentence ends: a segment that goes on for one more sentence does no harm, one that ends
at "Dr." does.
"""

import re
from collections.abc import Sequence
from functools import cached_property

from echox.text.tokenizer import TextTokenizer

SPACED = ".!?…؟।"
"""Marks behind which a blank or the end of the text must follow."""
UNSPACED = "。！？．｡"
"""Marks of scripts without blanks."""
CLOSERS = "\"'”’»)]}」』）】》"
"""Quotes and brackets that belong to the sentence before them."""
OPENERS = "\"'“‘«([{「『（【《¿¡*_#-"
"""Signs that may stand before the first word of a sentence."""
_ABBREVIATION = re.compile(
    r"Drs?|Mr|Mrs|Ms|Mx|Prof|St|Mt|Ft|Rev|Fr|Gen|Col|Maj|Capt|Cmdr|Lt|Sgt|Cpl|Adm|Sen|Rep|Gov|Pres|Hon|Messrs|Mme|Mlle"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Inc|Ltd|Corp|Co|Bros|Jr|Sr|Ave|Blvd|Dept|Univ"
    r"|(?i:vs|cf|viz|approx|ca|al|resp|incl|excl|ibid|est)"
    r"|[^\W\d_]{1,3}(\.[^\W\d_]{1,3})+"  # U.S, e.g, Ph.D
)
_BEFORE_NUMBER = re.compile(r"(?i:nos?|figs?|vol|ch|sec|pp?|art|eq|op)")
_END = re.compile(rf"([{re.escape(SPACED + UNSPACED)}])[{re.escape(CLOSERS)}]*\s*\Z")
_TOKEN = re.compile(rf"[{re.escape(SPACED + UNSPACED + CLOSERS)}\ufffd]\s*\Z")
_LIST_NUMBER = re.compile(r"(?:\A|\n)\s*\(?\d{1,3}\Z")


class Sentences:
    """Finds the tokens that end a sentence."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer

    @cached_property
    def table(self) -> list[bool]:
        """For each id of the vocabulary whether it can end a sentence: the text around it decides whether it does.

        Such a token ends in a mark, in a quote or bracket that may follow one, or inside a character.
        """
        ids = range(self._tokenizer.vocab_size)
        return [bool(_TOKEN.search(self._tokenizer.decode([index]))) for index in ids]

    def ends(self, tokens: Sequence[int]) -> list[int]:
        """Return the indices of the tokens that end a sentence; the last token does, if it ends in a mark."""
        text = self._tokenizer.decode(tokens)
        possible = [index for index, token in enumerate(tokens) if self.table[token]]
        found: list[int] = []
        for index in possible:
            before = self._tokenizer.decode(tokens[: index + 1])
            if text.startswith(before) and ends_sentence(before, text[len(before) :]):
                found.append(index)
        return found


def ends_sentence(before: str, after: str) -> bool:
    """Return whether a sentence ends between two parts of a text.

    Args:
        before: the text up to there, with marks, closing quotes and blanks that may follow them.
        after: the rest.
    """
    end = _END.search(before)
    if end is None:
        return False
    head, mark, rest = before[: end.start()], end[1], after.lstrip()
    if not rest:
        return True
    apart = rest != after or end[0][-1].isspace()
    if not apart and (mark in SPACED or rest[0] in SPACED + UNSPACED + CLOSERS):
        return False
    if mark in UNSPACED:
        return not (head[-1:].isdigit() and rest[0].isdigit())
    if rest[0] in SPACED + UNSPACED or _goes_on(before, rest):
        return False
    ellipsis = mark == "…" or (mark == "." and head.endswith("."))
    return not ellipsis and (mark != "." or not _is_abbreviated(head, rest))


def _goes_on(before: str, rest: str) -> bool:
    """Return whether a small letter follows, in a text that begins its sentences with capitals."""
    return rest.lstrip(OPENERS)[:1].islower() and any(letter.isupper() for letter in before + rest)


def _is_abbreviated(head: str, rest: str) -> bool:
    """Return whether the full stop behind `head` belongs to its last word or is that of a number in a list."""
    if _LIST_NUMBER.search(head):
        return True
    word = (head.split() or [""])[-1].lstrip(OPENERS)
    if _ABBREVIATION.fullmatch(word) or (_BEFORE_NUMBER.fullmatch(word) and rest[0].isdigit()):
        return True
    return len(word) == 1 and word.isupper() and word != "I"
