"""Group a stream of items into consecutive lists."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import accumulate
from math import ceil
from typing import TypeVar

T = TypeVar("T")

REACH = 2
"""Sizes of the largest group within which an item with the least mark of all is a border."""


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


def joined(items: Iterable[T], part: Callable[[T], Hashable | None]) -> Iterator[list[T]]:
    """Yield consecutive items of the same part as one list, and each item that is of no part as a list of one."""
    last: list[T] = []
    of_last: Hashable | None = None
    for item in items:
        of_item = part(item)
        if last and (of_item is None or of_item != of_last):
            yield last
            last = []
        last.append(item)
        of_last = of_item
    if last:
        yield last


def grouped_by_content(
    items: Iterable[T], size: Callable[[T], float], mark: Callable[[T], bytes], most: float
) -> Iterator[list[T]]:
    """Yield the items in their order, in groups whose borders depend on the items near them.

    So an item that is added or removed moves the borders near it, and farther groups are the same. An item with the
    least mark of all within `REACH` is a border whatever else there is. What lies between two such items is split
    evenly, again behind items with small marks. Holds what lies between two or three of them.

    Args:
        items: may be endless.
        size: size of an item, at least 0.
        mark: digest of an item; whatever else it depends on moves borders, too.
        most: largest size of a group; an item that is larger is one group.
    """
    for stretch in _stretches(items, size, mark, REACH * most):
        yield from _split(stretch, size, mark, most)


def _stretches(
    items: Iterable[T], size: Callable[[T], float], mark: Callable[[T], bytes], reach: float
) -> Iterator[list[T]]:
    """Yield what ends with each item whose mark is the least within `reach` before and behind it, then the rest."""
    held: list[T] = []
    position = 0.0
    lows: deque[tuple[float, bytes]] = deque()  # ascending marks within reach, of which none before has a larger one
    found: tuple[float, int] | None = None  # position of an item that is a border unless a smaller mark comes
    for item in items:
        position += size(item)
        own = mark(item)
        if found and position > found[0] + reach:
            yield held[: found[1]]
            del held[: found[1]]
            found = None
        held.append(item)
        while lows and lows[0][0] < position - reach:
            lows.popleft()
        if position > reach and not (lows and lows[0][1] <= own):
            found = position, len(held)
        while lows and lows[-1][1] >= own:
            lows.pop()
        lows.append((position, own))
    if held:
        yield held


def _split(items: list[T], size: Callable[[T], float], mark: Callable[[T], bytes], most: float) -> Iterator[list[T]]:
    """Yield groups of about the same size, each behind the item with the least mark near the place of an even one."""
    totals = list(accumulate(map(size, items)))
    if len(items) == 1 or totals[-1] <= most:
        yield items
        return
    groups = ceil(totals[-1] / most)
    even = totals[-1] * (groups // 2) / groups
    away = [abs(total - even) for total in totals[:-1]]
    room = max(most - totals[-1] / groups, min(away))
    end = min((end for end, far in enumerate(away, 1) if far <= room), key=lambda end: mark(items[end - 1]))
    yield from _split(items[:end], size, mark, most)
    yield from _split(items[end:], size, mark, most)
