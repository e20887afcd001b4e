"""Windows that go through a model together."""

# Shapes: N = samples at 16 kHz.

from collections.abc import Iterable, Iterator

from unitlang.features.base import K
from unitlang.features.windows import Window


def batches(windows: Iterable[tuple[K, Window]], batch_samples: int) -> Iterator[list[tuple[K, Window]]]:
    """The windows in their order, so many at a time that their samples stay within a bound.

    Args:
        windows: with the key of their utterance.
        batch_samples: bound of a batch; a longer window is a batch by itself.
    """
    batch: list[tuple[K, Window]] = []
    held = 0
    for key, window in windows:
        samples = len(window.waveform_N)
        if batch and held + samples > batch_samples:
            yield batch
            batch, held = [], 0
        batch.append((key, window))
        held += samples
    if batch:
        yield batch
