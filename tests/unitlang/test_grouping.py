from collections.abc import Iterator
from itertools import chain, count, islice, pairwise

from hypothesis import given
from hypothesis import strategies as st

from unitlang.grouping import grouped


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
