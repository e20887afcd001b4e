from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain, count, islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitlang.grouping import grouped, grouped_by_content


@given(st.lists(st.integers(0, 9)), st.integers(1, 12))
def test_groups_are_as_large_as_the_bound_allows(items: list[int], bound: int) -> None:
    groups = list(grouped(items, lambda group, item: sum(group) + item > bound))
    assert list(chain.from_iterable(groups)) == items
    assert all(len(group) == 1 or sum(group) <= bound for group in groups)
    assert all(sum(group) + after[0] > bound for group, after in pairwise(groups))


def test_only_one_item_is_read_beyond_a_group() -> None:
    read: list[int] = []

    def endless() -> Iterator[int]:
        for number in count():
            read.append(number)
            yield number

    groups = grouped(endless(), lambda group, _: len(group) == 3)
    assert list(islice(groups, 2)) == [[0, 1, 2], [3, 4, 5]]
    assert read == list(range(7))
    assert list(grouped([], lambda group, _: len(group) == 3)) == []


def digest(item: int) -> bytes:
    return blake2b(str(item).encode(), digest_size=8).digest()


def named(items: Iterable[int], most: float, sizes: Sequence[float] = (1.0,)) -> list[list[int]]:
    return list(
        grouped_by_content(
            items,
            lambda item: sizes[item % len(sizes)],
            digest,
            most,
        )
    )


@given(st.lists(st.integers(0, 99)), st.lists(st.floats(0, 9), min_size=1), st.floats(0.5, 30))
def test_groups_by_content_hold_all_items_in_order_and_no_more_than_the_bound(
    items: list[int], sizes: list[float], most: float
) -> None:
    groups = named(items, most, sizes)
    assert list(chain.from_iterable(groups)) == items
    assert all(len(group) == 1 or sum(sizes[item % len(sizes)] for item in group) <= most for group in groups)


def test_groups_by_content_are_nearly_full_and_their_borders_are_chosen() -> None:
    sizes = [len(group) for group in named(range(10_000), 40)]
    assert max(sizes) <= 40
    assert 10_000 / len(sizes) > 0.8 * 40
    assert len({*sizes}) > 10, "the contents choose the border"


def test_equal_marks_are_grouped_evenly() -> None:
    """Such items are no borders whatever else there is; all are held."""
    sizes = [len(group) for group in grouped_by_content(range(1_000), lambda _: 1.0, lambda _: b"", 40)]
    assert (max(sizes), sum(sizes)) == (40, 1_000)


def test_what_is_held_is_bounded() -> None:
    read: list[int] = []

    def endless() -> Iterator[int]:
        for number in count():
            read.append(number)
            yield number

    groups = list(islice(grouped_by_content(endless(), lambda _: 1.0, digest, 10), 1_000))
    assert len(read) - sum(map(len, groups)) < 200


@pytest.mark.parametrize("added", [0, 1, 50], ids=["one removed", "one added", "many added"])
def test_a_change_moves_only_borders_near_it(added: int) -> None:
    """The place of the change decides by chance whether one group differs or a few."""
    items = list(range(5_000))
    before = {*map(tuple, named(items, 150))}
    differing = list[int]()
    for place in range(0, 5_000, 250):
        changed = [*items[:place], *range(-added, 0), *items[place + (not added) :]]
        differing.append(len({*map(tuple, named(changed, 150))} - before))
    assert max(differing) < len(before) / 4, "the groups far behind the change are the same"
    assert sum(differing) / len(differing) < 2 + added / 12
