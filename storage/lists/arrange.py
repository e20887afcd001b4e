"""Which rows of a version stay in the lists of its parent, and which go into new lists.

A list never changes, so a version names the parts of it that are valid. What is new goes into a list of its own. So
that versions name few lists and parts, some lists are written anew, together with what is new:

- Four lists of similar size become one, so each row is written a few times in all.
- A list of which more than half is not valid any more, or of which a version would name more than `MOST_PARTS` parts.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, Protocol, TypeVar


class Row(Protocol):
    """A row of a list: the receipts of a work unit."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the work unit."""
        ...


RowT = TypeVar("RowT", bound=Row)
MOST_PARTS = 128
"""Parts of one list that a version names, at most."""
MOST_OF_A_SIZE = 4
"""Lists of similar size that are joined; sizes are similar if they have as many digits to the base of 4."""
Spot = tuple[int, int]
"""Position of a list, and of a row in it."""
Part = tuple[int, int, int]
"""Position of a list, of the first valid row in it, and the number of valid rows from there on."""


@dataclass(frozen=True)
class Arrangement(Generic[RowT]):
    """The rows of a version.

    Attributes:
        kept: positions of the lists of the parent that stay, in the order of the lists of the version.
        new: the new lists, which come after those.
        parts: make up the rows of the version.
    """

    kept: Sequence[int]
    new: Sequence[Sequence[RowT]]
    parts: Sequence[Part]


def arranged(
    rows: Sequence[RowT], lists: Sequence[Sequence[RowT]], parts: Iterable[Part], longest: int
) -> Arrangement[RowT]:
    """Arrange the rows of a version.

    Args:
        rows: those of the version, in order.
        lists: those of its parent.
        parts: the valid parts of them.
        longest: rows of one list, at most.
    """
    spots = {lists[number][place].fingerprint: (number, place) for number, place in _spots(parts)}
    found = [spots.get(row.fingerprint) for row in rows]
    old = [
        spot if spot is not None and lists[spot[0]][spot[1]] == row else None
        for spot, row in zip(found, rows, strict=True)
    ]
    worn = _worn(_parts(spot for spot in old if spot is not None), [len(made) for made in lists], longest)
    stay = [None if spot is None or spot[0] in worn else spot for spot in old]
    kept = sorted({spot[0] for spot in stay if spot is not None})
    fresh = [row for row, spot in zip(rows, stay, strict=True) if spot is None]
    new = [fresh[first : first + longest] for first in range(0, len(fresh), longest)]
    places = iter([(len(kept) + number, place) for number, made in enumerate(new) for place in range(len(made))])
    moved = {number: position for position, number in enumerate(kept)}
    now = [next(places) if spot is None else (moved[spot[0]], spot[1]) for spot in stay]
    return Arrangement(kept, new, _parts(now))


def _worn(parts: Iterable[Part], lengths: Sequence[int], longest: int) -> set[int]:
    """The lists that are written anew: in too many parts, mostly waste, or with too many others of their size.

    Args:
        parts: what the version needs of them.
        lengths: their numbers of rows.
        longest: number of rows of the longest possible list.
    """
    counts: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    for number, _, count in parts:
        counts[number] += 1
        sizes[number] += count
    worn = {number for number, size in sizes.items() if counts[number] > MOST_PARTS or 2 * size < lengths[number]}
    similar: defaultdict[int, set[int]] = defaultdict(set)
    for number in sizes.keys() - worn:
        if 2 * sizes[number] < longest:
            similar[(sizes[number].bit_length() - 1) // 2].add(number)
    return worn.union(*(numbers for numbers in similar.values() if len(numbers) >= MOST_OF_A_SIZE))


def _spots(parts: Iterable[Part]) -> Iterator[Spot]:
    return ((number, place) for number, first, count in parts for place in range(first, first + count))


def _parts(spots: Iterable[Spot]) -> list[Part]:
    """Join the spots that follow each other."""
    runs = groupby(enumerate(spots), lambda of: (of[1][0], of[1][1] - of[0]))
    groups = ([spot for _, spot in run] for _, run in runs)
    return [(*group[0], len(group)) for group in groups]
