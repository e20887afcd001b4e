"""Batches of windows of like length."""

# Shapes: N = samples at 16 kHz.

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from math import log2
from typing import TypeVar

from unitlang.features.windows import Window

K = TypeVar("K", bound=Hashable)

_BUCKETS_PER_OCTAVE = 4
"""Lengths of a bucket differ by up to 19 %, so padding is 9 % of a batch on average."""


def bucketed(windows: Iterable[tuple[K, Window]], batch_samples: int) -> Iterator[list[tuple[K, Window]]]:
    """Batches that depend on the windows and their order alone; windows of one length stay in order.

    Holds at most a batch for each quarter of an octave.

    Args:
        windows: with the key of their utterance.
        batch_samples: bound of a batch, padding included; a longer window is a batch by itself.
    """
    buckets: dict[int, list[tuple[K, Window]]] = defaultdict(list)
    for key, window in windows:
        bucket = buckets[int(log2(len(window.waveform_N)) * _BUCKETS_PER_OCTAVE)]
        if _padded([*bucket, (key, window)]) > batch_samples and bucket:
            yield bucket.copy()
            bucket.clear()
        bucket.append((key, window))
    yield from _filled((item for number in sorted(buckets) for item in buckets[number]), batch_samples)


def _filled(items: Iterable[tuple[K, Window]], batch_samples: int) -> Iterator[list[tuple[K, Window]]]:
    """What the buckets hold at the end, in their order, cut into batches."""
    batch: list[tuple[K, Window]] = []
    for item in items:
        if batch and _padded([*batch, item]) > batch_samples:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _padded(items: list[tuple[K, Window]]) -> int:
    return len(items) * max(len(window.waveform_N) for _, window in items)
