"""The search of byte-pair encoding, compiled by numba; `unitlang.language.bpe` explains it and why it is exact.

All compiled functions are in this one file: numba recompiles a function when its own file changes, but does not check
the files of the functions that it calls.

Shapes: R = units, N = sequences, W = words, V = words of the vocabulary, K = units of the quantizer, S = slots of a
table, E = entries of a table, C = cuts of a word of the vocabulary into two others.
"""

from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from unitlang.units import Uint16Array

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

NONE = -1
"""No word, no node, no value; the rank of single units; an empty slot."""

LENGTH, RANK, LEFT, RIGHT, SHORTER = range(5)
"""Columns of `Tables.words_V5`."""

MAX_WORDS = 1 << 20
MAX_NODES = 1 << 21
"""Bounds by the 64 bits of an entry: two numbers below 2^22 and 2^20, and a value below 2^21."""

_SECOND_BITS = 20
_KEY_BITS = 42
_KEY = (1 << _KEY_BITS) - 1

NEVER = 2**16 - 1
"""No word, in `Tables.soonest_S`."""

SOONEST_SLOTS = 1 << 17
"""256 KB, which fit a core's cache; few of some 10,000 pairs (as of HuBERT's units) share a slot."""


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a function to machine code at its first call, and cache it on disk for later processes.

    Numba caches in `NUMBA_CACHE_DIR`, beside this file or in the user's cache folder, the first that is writable. It
    replaces files whole, so many processes may compile at once.
    """
    try:
        return njit(cache=True)(function)
    except RuntimeError:  # no cache folder is writable: each process compiles for itself
        return njit(function)


class Tables(NamedTuple):
    """Lookup tables of the search; hash tables have a power of two of slots, `NONE` if empty.

    Attributes:
        words_V5: for each word its number of units (`LENGTH`), its place in the order of merging (`RANK`, the smaller
            the sooner), the two words that BPE merges to it (`LEFT`, `RIGHT`) and the longest other word that it begins
            with (`SHORTER`). The last four are `NONE` for single units.
        units_K: the word of each single unit.
        nodes_S: (node, unit) -> the next node in the tree of all beginnings of words. The node of a word has its id,
            those of other beginnings have ids from V on.
        joined_S: (word, word) -> rank of the word that they merge to.
        soonest_S: (unit, unit) -> smallest rank of a word in which the two follow each other, at most `NEVER` - 1;
            `NEVER` if there is none. Pairs that share a slot share the smallest, which is a lower bound of each.
    """

    words_V5: Int32Array
    units_K: Int32Array
    nodes_S: Int64Array
    joined_S: Int64Array
    soonest_S: Uint16Array


@compiled
def _slot(first: int, second: int, num_slots: int) -> int:
    mixed = first * 0x9E3779B1 + second * 0x85EBCA77  # odd numbers of 32 bits, to spread neighbours
    return (mixed ^ (mixed >> 15)) & (num_slots - 1)


@compiled
def _insert(table_S: Int64Array, first: int, second: int, value: int) -> None:
    slot = _slot(first, second, len(table_S))
    while table_S[slot] != NONE:
        slot = (slot + 1) & (len(table_S) - 1)
    table_S[slot] = (value << _KEY_BITS) | (first << _SECOND_BITS) | second


@compiled
def _value(table_S: Int64Array, first: int, second: int) -> int:
    """Return the value of two numbers in a hash table, or `NONE`."""
    key = (first << _SECOND_BITS) | second
    slot = _slot(first, second, len(table_S))
    while True:
        entry = table_S[slot]
        if entry == NONE or entry & _KEY == key:
            return entry >> _KEY_BITS  # gives NONE for NONE
        slot = (slot + 1) & (len(table_S) - 1)


@compiled
def fill(table_S: Int64Array, entries_E3: Int64Array) -> None:
    """Insert entries of two numbers and their value into a hash table."""
    for i in range(len(entries_E3)):
        _insert(table_S, entries_E3[i, 0], entries_E3[i, 1], entries_E3[i, 2])


@compiled
def lower(soonest_S: Uint16Array, pairs_E3: Int64Array) -> None:
    """Insert pairs of units and the rank of a word that contains them into `Tables.soonest_S`."""
    for i in range(len(pairs_E3)):
        slot = _slot(pairs_E3[i, 0], pairs_E3[i, 1], len(soonest_S))
        soonest_S[slot] = min(int(soonest_S[slot]), pairs_E3[i, 2], NEVER - 1)


@compiled
def _whole_before_joined(left: int, right: int, soonest: int, words_V5: Int32Array, joined_S: Int64Array) -> bool:
    """Return whether BPE completes two neighbouring words before it merges anything across their edge.

    Works backwards in time. Of the two symbols at the edge, the one of the larger rank was merged last; of equal ranks
    the right one. Before that, one of its two parts lay at the edge: if that part and the symbol beyond the edge form a
    word of a smaller rank, or of the same rank and further left, BPE merges these instead.

    Args:
        left: word before the edge.
        right: word after the edge.
        soonest: lower bound of the ranks of words across the edge, so that symbols of smaller ranks can be skipped.
        words_V5: see `Tables`.
        joined_S: see `Tables`; must contain all words that are shorter than the two together.
    """
    while True:
        left_rank, right_rank = words_V5[left, RANK], words_V5[right, RANK]
        if max(left_rank, right_rank) < soonest:
            return True
        if left_rank > right_rank:
            left = int(words_V5[left, RIGHT])
            if NONE < _value(joined_S, left, right) < left_rank:
                return False
        else:
            right = int(words_V5[right, LEFT])
            if NONE < _value(joined_S, left, right) <= right_rank:
                return False


@compiled
def _is_made(word: int, words_V5: Int32Array) -> bool:
    return words_V5[word, RANK] == NONE or words_V5[word, LEFT] != NONE


@compiled
def join(cuts_C3: Int64Array, words_V5: Int32Array, joined_S: Int64Array) -> bool:
    """Find how BPE merges each word from its own units: fill in `LEFT`, `RIGHT` and `joined_S`.

    Words that BPE does not make from their own units keep `NONE` and occur in no encoding.

    Args:
        cuts_C3: each word, the shorter ones first, and two words that it can be cut into.
        words_V5: see `Tables`, with lengths and ranks.
        joined_S: an empty hash table.

    Returns:
        Whether each word has a larger rank than the two words that it is merged from, as the search requires.
    """
    for i in range(len(cuts_C3)):
        whole, left, right = cuts_C3[i, 0], cuts_C3[i, 1], cuts_C3[i, 2]
        if not (_is_made(left, words_V5) and _is_made(right, words_V5)):
            continue
        rank = words_V5[whole, RANK]
        if words_V5[whole, LEFT] == NONE and _whole_before_joined(left, right, 0, words_V5, joined_S):
            if max(words_V5[left, RANK], words_V5[right, RANK]) >= rank:
                return False
            words_V5[whole, LEFT] = left
            words_V5[whole, RIGHT] = right
        _insert(joined_S, left, right, rank)
    return True


@compiled
def _longest(units_R: Uint16Array, position: int, num_words: int, units_K: Int32Array, nodes_S: Int64Array) -> int:
    """Return the longest word that the units from `position` begin with."""
    node = word = int(units_K[int(units_R[position])])
    for i in range(position + 1, len(units_R)):
        node = _value(nodes_S, node, int(units_R[i]))
        if node == NONE:
            break
        if node < num_words:
            word = node
    return word


@compiled
def _fit(left: int, right: int, soonest: int, words_V5: Int32Array, joined_S: Int64Array) -> bool:
    """Return whether BPE gives these two words for their units; see `_whole_before_joined` for `soonest`."""
    return soonest == NEVER or (
        _value(joined_S, left, right) == NONE and _whole_before_joined(left, right, soonest, words_V5, joined_S)
    )


@compiled
def _encode_piece(units_R: Uint16Array, words_W: Int32Array, is_dead: NDArray[np.bool_], tables: Tables) -> int:
    """Write the words of at least one unit, and return their number.

    Args:
        units_R: the units.
        words_W: room for as many words.
        is_dead: room for as many positions and the end. From a dead position no words lead to the end.
        tables: lookup tables.
    """
    words_V5, units_K, nodes_S, joined_S, soonest_S = tables  # attributes of `tables` cost time at each use
    is_dead[: len(units_R) + 1] = False
    position = num_words = soonest = 0
    word = _longest(units_R, 0, len(words_V5), units_K, nodes_S)
    while True:
        end = position + words_V5[word, LENGTH]
        if not is_dead[end] and (
            num_words == 0 or _fit(int(words_W[num_words - 1]), word, soonest, words_V5, joined_S)
        ):
            words_W[num_words] = word
            num_words += 1
            if end == len(units_R):
                return num_words
            position = end
            word = _longest(units_R, position, len(words_V5), units_K, nodes_S)
        else:
            while words_V5[word, SHORTER] == NONE:
                is_dead[position] = True
                num_words -= 1
                word = int(words_W[num_words])
                position -= words_V5[word, LENGTH]
            word = int(words_V5[word, SHORTER])
        if position:
            soonest = int(soonest_S[_slot(int(units_R[position - 1]), int(units_R[position]), len(soonest_S))])


@compiled
def encode(units_R: Uint16Array, ends_N: Int64Array, piece_units: int, tables: Tables) -> tuple[Int32Array, Int64Array]:
    """Encode many sequences, each cut after every `piece_units` units.

    Args:
        units_R: the units of all sequences, concatenated.
        ends_N: end of each sequence in `units_R`.
        piece_units: most units that are encoded together.
        tables: lookup tables.

    Returns:
        The words of all sequences, `words_W`, and the end of each sequence in them, of shape (N,).
    """
    words_W = np.empty(len(units_R), np.int32)
    word_ends_N = np.empty(len(ends_N), np.int64)
    is_dead = np.empty(piece_units + 1, np.bool_)
    start = num_words = 0
    for i in range(len(ends_N)):
        for begin in range(start, ends_N[i], piece_units):
            piece_R = units_R[begin : min(begin + piece_units, ends_N[i])]
            num_words += _encode_piece(piece_R, words_W[num_words:], is_dead, tables)
        start = ends_N[i]
        word_ends_N[i] = num_words
    return words_W[:num_words].copy(), word_ends_N
