"""Cut an utterance of any length into overlapping windows of bounded size."""

# Shapes: N = samples at 16 kHz.

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unitlang.features.hubert_parts.moments import Moments
from unitlang.features.recording import checked
from unitlang.frames import FrameGrid

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """A stretch of an utterance and the range of its frames to keep.

    Attributes:
        waveform_N: float32 samples.
        first: first of the window's frames to keep; those before it are context.
        last: one after the last frame to keep.
        moments: of the whole utterance, if the features depend on them.
    """

    waveform_N: FloatArray
    first: int
    last: int
    moments: Moments | None = None


def windows(
    blocks: Iterable[FloatArray], *, grid: FrameGrid, window_frames: int, context_frames: int
) -> Iterator[Window]:
    """Cut an utterance into windows whose kept frames are all its frames, each once, in order.

    An utterance of up to `window_frames` frames is one window. A longer one is cut into windows of exactly
    `window_frames` frames that overlap by twice `context_frames`; the middle of the overlap separates their kept
    frames. The last window reaches back as far as needed to be full. The cuts depend only on the number of samples, not
    on the blocks. Holds at most two windows of samples.

    Args:
        blocks: waveform_N float32 arrays of any size, 16 kHz mono.
        grid: the extractor's frame grid.
        window_frames: longest window, in frames; more than twice `context_frames`.
        context_frames: least number of frames before and after the kept ones.

    Yields:
        The windows; none if the utterance is shorter than one frame.

    Raises:
        UnitlangError: blocks that are not one-dimensional, or hold NaN or infinite samples.
    """
    step = window_frames - 2 * context_frames
    kept = window_frames - context_frames
    buffer_N = np.empty(grid.num_samples(step + window_frames + 1), np.float32)
    filled = offset = first = 0  # offset: frames to the next window's start; the buffer keeps the previous one's
    for piece_N in checked(blocks):
        while len(piece_N) > 0:
            full = grid.num_samples(offset + window_frames + 1)
            taken, piece_N = np.split(piece_N, [full - filled])
            buffer_N[filled : filled + len(taken)] = taken
            filled += len(taken)
            if filled == full:  # one frame more than the window holds: it is not the last one
                start = offset * grid.hop
                yield Window(buffer_N[start : start + grid.num_samples(window_frames)].copy(), first, kept)
                filled -= start
                buffer_N[:filled] = buffer_N[start : start + filled].copy()
                offset, first = step, context_frames
    total = grid.num_frames(filled)
    if offset == 0 and total > 0:
        yield Window(buffer_N[:filled].copy(), 0, total)
    elif total > 0:
        start = total - window_frames
        yield Window(buffer_N[start * grid.hop : filled].copy(), kept - start, window_frames)
