"""Receipts come back in their order whatever the history; a version writes little and names few lists."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from storage.lists.arrange import MOST_OF_A_SIZE, MOST_PARTS, Arrangement, Part, arranged
from storage.lists.steps import RECEIPTS
from storage.receipts import Receipt

LONGEST = RECEIPTS.longest
SIZES = 6
"""Classes of similar sizes of the lists that are short of half of the longest."""


def receipts(*names: int) -> list[Receipt]:
    return [Receipt(str(name), "encode", (), 1, 1, {}, {}) for name in names]


class History:
    """Lists and parts of a step over many versions.

    Attributes:
        lists: of the last version.
        parts: of the last version.
        written: number of receipts that were written so far.
    """

    def __init__(self) -> None:
        self.lists: Sequence[Sequence[Receipt]] = ()
        self.parts: Sequence[Part] = ()
        self.written = 0

    def add(self, version: Sequence[Receipt]) -> Arrangement[Receipt]:
        made = arranged(version, self.lists, self.parts, LONGEST)
        assert made == arranged(version, self.lists, self.parts, LONGEST)
        self.lists = [*(self.lists[number] for number in made.kept), *made.new]
        self.parts = made.parts
        self.written += sum(map(len, made.new))
        read = [r for number, first, count in self.parts for r in self.lists[number][first : first + count]]
        assert read == list(version)
        self.check(len(version))
        return made

    def check(self, size: int) -> None:
        """Check the bounds that a reader relies on."""
        assert len(self.lists) <= SIZES * MOST_OF_A_SIZE + 2 * size / LONGEST + 1
        assert sum(map(len, self.lists)) <= 2 * size + sum(map(len, self.lists[-1:]))
        assert all(0 < len(made) <= LONGEST for made in self.lists)


def test_the_first_version_is_cut_into_lists_of_bounded_length() -> None:
    history = History()
    history.add(receipts(*range(2 * LONGEST + 5)))
    assert list(map(len, history.lists)) == [LONGEST, LONGEST, 5]
    assert history.parts == [(0, 0, LONGEST), (1, 0, LONGEST), (2, 0, 5)]
    assert History().add([]).new == []


def test_a_version_with_the_same_receipts_writes_nothing() -> None:
    history = History()
    history.add(receipts(*range(100)))
    assert history.add(receipts(*range(100))).new == []


def test_new_receipts_make_a_list_of_their_own_and_removed_ones_only_other_parts() -> None:
    history = History()
    history.add(receipts(*range(100)))
    made = history.add(receipts(*range(40), *range(41, 100), 200, 201))
    assert [[receipt.fingerprint for receipt in new] for new in made.new] == [["200", "201"]]
    assert made.parts == [(0, 0, 40), (0, 41, 59), (1, 0, 2)]


def test_a_receipt_with_other_contents_under_the_same_fingerprint_is_new() -> None:
    history = History()
    history.add(receipts(1, 2, 3))
    other = Receipt("2", "encode", (), 9, 1, {}, {})
    first, _, last = receipts(1, 2, 3)
    assert history.add([first, other, last]).new == [[other]]


def test_a_receipt_that_is_named_twice_stays_twice() -> None:
    history = History()
    history.add(receipts(1, 2, 2, 3))
    history.add(receipts(1, 2, 2, 3, 3))


def test_a_list_that_is_mostly_waste_is_written_anew() -> None:
    history = History()
    history.add(receipts(*range(100)))
    assert history.add(receipts(*range(50))).new == []
    assert list(map(len, history.add(receipts(*range(49))).new)) == [49]


def test_a_list_in_too_many_parts_is_written_anew() -> None:
    history = History()
    history.add(receipts(*range(1000)))
    holes = {7 * number + 3 for number in range(MOST_PARTS - 1)}
    assert history.add(receipts(*(name for name in range(1000) if name not in holes))).new == []
    assert len(history.parts) == MOST_PARTS
    made = history.add(receipts(*(name for name in range(1000) if name not in holes | {999 - 2})))
    assert (len(made.kept), len(made.parts)) == (0, 1)


@pytest.mark.slow
def test_a_year_of_nights_writes_each_receipt_a_few_times() -> None:
    history = History()
    size = 3000
    history.add(receipts(*range(size)))
    for _ in range(365):
        size += 3
        history.add(receipts(*range(size)))
    assert history.written - 3000 <= 365 * 3 * 6
    assert len(history.lists) <= 12


def test_random_histories_come_back_within_the_bounds() -> None:
    """Receipts come, go, come back, are replaced in place and change their order."""
    for seed in range(20):
        chance = random.Random(seed)
        history, version, names = History(), list(range(chance.randrange(400))), 1000
        for _ in range(60):
            kind = chance.choice(["come", "go", "replace", "shuffle", "back"])
            count = chance.choice([1, 1, 3, 40])
            fresh = list(range(names, names + count))
            names += count
            if kind == "come":
                version += fresh
            elif kind == "go":
                gone = {chance.randrange(len(version)) for _ in range(count)} if version else set()
                version = [name for place, name in enumerate(version) if place not in gone]
            elif kind == "replace" and version:
                for name in fresh:
                    version[chance.randrange(len(version))] = name
            elif kind == "shuffle":
                chance.shuffle(version)
            else:
                version += [name for name in range(20) if name not in version]
            history.add(receipts(*version))
        assert max(Counter(number for number, _, _ in history.parts).values(), default=0) <= 2 * MOST_PARTS
