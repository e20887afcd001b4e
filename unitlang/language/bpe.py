"""Byte-pair encoding with exactly SentencePiece's results, several times as fast.

SentencePiece merges two neighbouring symbols if their units together are a word. Of all such pairs it takes the one
whose word has the best score, the leftmost of equal ones, until none are left. This encoder merges nothing. It chooses
words from left to right, the longest first, and keeps a word if BPE of the units of the previous word and this one
alone gives just these two. Two facts make that exact and linear:

- Words are BPE's result if and only if each two neighbours are BPE's result for the units of the two. As long as
  nothing is merged across an edge, the merges on one side do not depend on the other side; so the first merge across an
  edge, if there is one, also happens in the two neighbours alone.
- So the words that lead to a position are BPE's result for all units before it, and there is only one such result. A
  position that no word continues to the end never needs a second try.

The `bpe` crate of github/rust-gems uses the first fact for merges of pairs. It holds for any order that depends on the
neighbours alone, hence also for scores of words, where several pairs may merge to one word. How two words behave at
their edge follows from how each was merged (`bpe_search`), which needs one more condition: each word is merged after
the two words that it is made of. All of 25,000 random languages learnt by BPE fulfilled it; languages that do not are
refused here.

Shapes: R = units, N = sequences, W = words, V = words of the vocabulary, C = cuts of a word into two, E = entries.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from unitlang.language.bpe_search import (
    LEFT,
    LENGTH,
    MAX_NODES,
    MAX_WORDS,
    NEVER,
    NONE,
    RANK,
    SHORTER,
    SOONEST_SLOTS,
    Int32Array,
    Int64Array,
    Tables,
    encode,
    fill,
    join,
    lower,
)
from unitlang.units import Uint16Array


class UnsearchableError(ValueError):
    """Words that this search cannot encode exactly."""


class BpeEncoder:
    """Byte-pair encoding by the scores of words. Picklable.

    Args:
        words: units of each word in the order of its id: all different, every single unit among them; `<unk>` has none.
        scores: score of each word; the highest is merged first.
        piece_units: sequences are cut after every `piece_units` units.

    Raises:
        UnsearchableError: a word is merged before one of the two words that it is made of, or there are too many words.
    """

    def __init__(self, words: Sequence[Sequence[int]], scores: Sequence[float], piece_units: int) -> None:
        if len(words) > MAX_WORDS:
            raise UnsearchableError(f"{len(words)} words are more than {MAX_WORDS}")
        texts = ["".join(map(chr, word)) for word in words]
        self._tables = _tables(texts, np.unique(-np.array(scores), return_inverse=True)[1])
        self._piece_units = piece_units

    def encode(self, units_R: Uint16Array, ends_N: Int64Array) -> tuple[Int32Array, Int64Array]:
        """Encode many sequences.

        Args:
            units_R: the units of all sequences, concatenated; each must be a word.
            ends_N: end of each sequence in `units_R`.

        Returns:
            The words of all sequences, `words_W`, and the end of each sequence in them, of shape (N,).
        """
        return encode(units_R, ends_N, self._piece_units, self._tables)


def _tables(texts: list[str], ranks_V: NDArray[np.integer]) -> Tables:
    """Build the tables; `texts` write each word with the codepoint u for unit u."""
    words_V5 = np.full((len(texts), 5), NONE, np.int32)
    words_V5[:, LENGTH] = [len(text) for text in texts]
    words_V5[:, RANK] = np.where(words_V5[:, LENGTH] > 1, ranks_V, NONE)
    joined_S = _join({text: word for word, text in enumerate(texts) if text}, words_V5)
    made_V = (words_V5[:, LEFT] != NONE) | (words_V5[:, LENGTH] == 1)
    ids = {texts[word]: word for word in np.flatnonzero(made_V).tolist()}
    for text, word in ids.items():
        beginnings = (text[:end] for end in range(len(text) - 1, 0, -1))
        words_V5[word, SHORTER] = next((ids[beginning] for beginning in beginnings if beginning in ids), NONE)
    units_K = np.array([ids[chr(unit)] for unit in range(sum(len(text) == 1 for text in ids))], np.int32)
    return Tables(words_V5, units_K, _nodes(ids, len(texts)), joined_S, _soonest(ids, words_V5[:, RANK].tolist()))


def _join(ids: dict[str, int], words_V5: Int32Array) -> Int64Array:
    """Build `Tables.joined_S` and fill in the two words that each word is merged from."""
    cuts_C3 = _rows(_cuts(ids))
    joined_S = _hash_table(len(cuts_C3))
    if not join(cuts_C3, words_V5, joined_S):
        raise UnsearchableError("a word has no better score than the word that it is joined to")
    return joined_S


def _cuts(ids: dict[str, int]) -> Iterator[tuple[int, int, int]]:
    """Yield each word, the shorter ones first, with two words that it can be cut into; once for each cut."""
    for text in sorted(ids, key=len):
        for end in range(1, len(text)):
            left, right = ids.get(text[:end]), ids.get(text[end:])
            if left is not None and right is not None:
                yield ids[text], left, right


def _nodes(ids: dict[str, int], num_words: int) -> Int64Array:
    """Build `Tables.nodes_S`."""
    nodes = dict(ids)
    for text in ids:
        for end in range(2, len(text)):
            nodes.setdefault(text[:end], num_words + len(nodes))
    if num_words + len(nodes) > MAX_NODES:
        raise UnsearchableError(f"{len(nodes)} beginnings of words are too many")
    entries_E3 = _rows((nodes[text[:-1]], ord(text[-1]), node) for text, node in nodes.items() if len(text) > 1)
    nodes_S = _hash_table(len(entries_E3))
    fill(nodes_S, entries_E3)
    return nodes_S


def _soonest(ids: dict[str, int], ranks: list[int]) -> Uint16Array:
    """Build `Tables.soonest_S`."""
    pairs = ((ord(one), ord(next_one), ranks[word]) for text, word in ids.items() for one, next_one in pairwise(text))
    soonest_S = np.full(SOONEST_SLOTS, NEVER, np.uint16)
    lower(soonest_S, _rows(pairs))
    return soonest_S


def _rows(rows: Iterable[tuple[int, int, int]]) -> Int64Array:
    return np.fromiter(chain.from_iterable(rows), np.int64).reshape(-1, 3)


def _hash_table(num_entries: int) -> Int64Array:
    """Return an empty hash table that `num_entries` entries fill to between a quarter and a half."""
    return np.full(2 << num_entries.bit_length(), NONE, np.int64)
