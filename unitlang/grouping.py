"""Group a stream of items into consecutive lists."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


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
