"""Buckets of examples of similar length, from which batches are made."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from echox.data.config import DataConfig

GROWTH = 1.15
"""Ratio of the longest lengths of neighbouring buckets: at most 13 % of a batch is padding."""
SHORTEST = 16
"""Longest length of the first bucket."""

T = TypeVar("T")


def bucket_sizes(config: DataConfig) -> list[tuple[int, int]]:
    """Return (examples, longest length) of each bucket, so that no batch has more than `max_tokens` positions."""
    lengths = [min(SHORTEST, config.max_length)]
    while lengths[-1] < config.max_length:
        lengths.append(min(config.max_length, int(lengths[-1] * GROWTH) + 1))
    return [(config.max_tokens // length, length) for length in lengths]


class Buckets(Generic[T]):
    """Examples that wait until there are enough of similar length for a batch."""

    def __init__(self, config: DataConfig) -> None:
        sizes = bucket_sizes(config)
        self._capacities = [capacity for capacity, _ in sizes]
        self._longest = [longest for _, longest in sizes]
        self._waiting: list[list[T]] = [[] for _ in sizes]

    def put(self, length: int, example: T) -> list[T] | None:
        """Put in an example of at most `max_length` positions; return the batch that it completes, if it does."""
        number = bisect_left(self._longest, length)
        self._waiting[number].append(example)
        return self.take(number) if len(self._waiting[number]) == self._capacities[number] else None

    def take(self, number: int) -> list[T]:
        """Take what waits in a bucket as a batch."""
        taken, self._waiting[number] = self._waiting[number], []
        return taken

    def overdue(self, is_overdue: Callable[[int, T], bool]) -> Iterator[list[T]]:
        """Take each bucket whose first example is overdue as a batch, which may be small.

        Args:
            is_overdue: tells it from the capacity of a bucket and its first example.
        """
        for number, waiting in enumerate(self._waiting):
            if waiting and is_overdue(self._capacities[number], waiting[0]):
                yield self.take(number)

    def waiting(self) -> Iterator[T]:
        """Yield all that waits, bucket by bucket, in the order of coming."""
        for waiting in self._waiting:
            yield from waiting
