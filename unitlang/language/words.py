"""The words of a unit language as one flat table, to decode, format and parse them.

Shapes: W = words of an utterance, R = runs, V = words of the vocabulary (id 0 is `<unk>`: it has no units and is never
produced).
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unitlang.errors import UnitlangError
from unitlang.units import Uint16Array, as_units

UNKNOWN = 0
"""Word id of `<unk>`."""


class UnitLanguageError(UnitlangError):
    """Units or words that do not belong to the unit language, or a language that cannot be trained or loaded."""


def units_below(k: int, units_R: ArrayLike) -> Uint16Array:
    """Check the units of one sequence against a quantizer of k units, and return them as uint16.

    Raises:
        UnitLanguageError: units of k or more.
        UnitlangError: see `as_units`.
    """
    array_R = as_units(units_R)
    if len(array_R) and int(array_R.max()) >= k:
        raise UnitLanguageError(f"unit {array_R.max()} is outside 0..{k - 1}: made by another quantizer?")
    return array_R


class WordTable:
    """Units of every word of a vocabulary.

    Args:
        words: units of each word in the order of its id; the first, `<unk>`, has none.
    """

    def __init__(self, words: Sequence[Sequence[int]]) -> None:
        self.lengths_V: NDArray[np.int32] = np.array([len(word) for word in words], np.int32)
        self._ends_V = np.cumsum(self.lengths_V, dtype=np.int64)
        self._units = np.array([unit for word in words for unit in word], np.uint16)

    def __len__(self) -> int:
        return len(self.lengths_V)

    def check(self, words_W: ArrayLike) -> NDArray[np.integer]:
        """Return word ids as an array.

        Raises:
            UnitLanguageError: ids that are not integers, not in the vocabulary, or `<unk>`.
        """
        array_W = np.asarray(words_W)
        if array_W.ndim != 1 or (array_W.size and array_W.dtype.kind not in "iu"):
            raise UnitLanguageError(f"word ids must be a row of integers, not {array_W.dtype}{array_W.shape}")
        if array_W.size and (int(array_W.min()) <= UNKNOWN or int(array_W.max()) >= len(self)):
            found = f"{array_W.min()}..{array_W.max()}"
            raise UnitLanguageError(f"word ids {found} are not in the vocabulary 1..{len(self) - 1}")
        return array_W.astype(np.int32, copy=False)

    def decode(self, words_W: ArrayLike) -> Uint16Array:
        """Return the units of a sequence of words, `units_R`.

        Raises:
            UnitLanguageError: ids that are not words of the vocabulary, or `<unk>`.
        """
        ids_W = self.check(words_W)
        lengths_W = self.lengths_V[ids_W]
        ends_W = np.cumsum(lengths_W, dtype=np.int64)
        # Output position + this shift = position in the flat table, constant within a word.
        shifts_W = self._ends_V[ids_W] - ends_W
        return self._units[np.arange(lengths_W.sum(dtype=np.int64)) + np.repeat(shifts_W, lengths_W)]

    def words(self, ids_W: ArrayLike) -> list[str]:
        """Return words in their written form: `837_81_194`.

        Raises:
            UnitLanguageError: ids that are not words of the vocabulary, or `<unk>`.
        """
        return [self._strings[word] for word in self.check(ids_W).tolist()]

    def tokens(self, ids_W: ArrayLike) -> list[str]:
        """Return words as tokens of a language model: `<|unit_837_81_194|>`.

        Raises:
            UnitLanguageError: ids that are not words of the vocabulary, or `<unk>`.
        """
        return [_token(word) for word in self.words(ids_W)]

    def parse(self, texts: Iterable[str]) -> NDArray[np.int32]:
        """Return the ids of words or tokens, `words_W`.

        Raises:
            UnitLanguageError: a text is neither a word nor a token of this vocabulary.
        """
        try:
            return np.array([self._ids[text] for text in texts], np.int32)
        except KeyError as error:
            raise UnitLanguageError(f"{error.args[0]!r} is not a word of this unit language") from None

    @cached_property
    def _strings(self) -> list[str]:
        bounds = pairwise([0, *self._ends_V.tolist()])
        units = [str(unit) for unit in self._units.tolist()]
        return ["_".join(units[start:end]) for start, end in bounds]

    @cached_property
    def _ids(self) -> dict[str, int]:
        known = list(enumerate(self._strings))[UNKNOWN + 1 :]
        return {form: index for index, word in known for form in (word, _token(word))}


def _token(word: str) -> str:
    return f"<|unit_{word}|>"
