"""Batches of windows that go through a model together."""

# Shapes: N = samples at 16 kHz.

from collections.abc import Iterable, Iterator

from unitlang.features.base import K
from unitlang.features.windows import Window
from unitlang.grouping import grouped


def batches(windows: Iterable[tuple[K, Window]], batch_samples: int) -> Iterator[list[tuple[K, Window]]]:
    """Yield the windows in their order, in batches with a bounded number of samples.

    Args:
        windows: each with the key of its utterance.
        batch_samples: most samples per batch; a longer window is a batch of its own.
    """

    def is_full(batch: list[tuple[K, Window]], item: tuple[K, Window]) -> bool:
        return sum(len(window.waveform_N) for _, window in (*batch, item)) > batch_samples

    return grouped(windows, is_full)
