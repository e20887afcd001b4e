"""Group a stream of items into consecutive lists."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TypeVar

T = TypeVar("T")

LEAST = 0.75
"""Smallest size of a group whose border its contents choose, as a share of the largest."""


def grouped(items: Iterable[T], is_full: Callable[[list[T], T], bool]) -> Iterator[list[T]]:
    """Yield the items in their order, in non-empty groups; holds one group at a time.

    Args:
        items: may be endless.
        is_full: whether the next item must start a new group. It gets the current group, which has at least one item
            and must not be changed, and the next item.
    """
    group: list[T] = []
    for item in items:
        if group and is_full(group, item):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def grouped_by_content(
    items: Iterable[T], size: Callable[[T], float], mark: Callable[[T], bytes], most: float
) -> Iterator[list[T]]:
    """Yield the items in their order, in groups whose borders depend on the items near them.

    So an item that is added or removed moves the borders near it; beyond these, the groups are the same. A group ends
    behind the item with the least mark among those that make it no larger than `most` and no smaller than `LEAST` of
    that. Holds the items of two groups at a time.

    Args:
        items: may be endless.
        size: size of an item, at least 0.
        mark: digest of an item; whatever else it depends on moves borders, too.
        most: largest size of a group; an item that is larger is one group.
    """
    waiting: list[T] = []
    total = 0.0
    for item in items:
        waiting.append(item)
        total += size(item)
        while total > most and len(waiting) > 1:
            end = _border([size(held) for held in waiting], waiting, mark, most)
            yield waiting[:end]
            waiting = waiting[end:]
            total = sum(map(size, waiting))
    if waiting:
        yield waiting


def _border(sizes: Sequence[float], items: Sequence[T], mark: Callable[[T], bytes], most: float) -> int:
    """Number of items in the group that these items, which are too many for one, begin with."""
    fitting = {end: total for end, total in enumerate(accumulate(sizes), 1) if total <= most} or {1: most}
    candidates = [end for end, total in fitting.items() if total >= LEAST * most] or [max(fitting)]
    return min(candidates, key=lambda end: mark(items[end - 1]))
