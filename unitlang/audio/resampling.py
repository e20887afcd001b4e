"""Resampling of decoded frames of any kind to mono 16 kHz float32, by libswresample.

Legend: C = channels, N = samples.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import gcd
from typing import Any, cast

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.error import BlockingIOError as NothingYet
from av.error import EOFError as NothingMore
from av.filter import Graph
from numpy.typing import NDArray

from unitlang.audio.layouts import listed_channels
from unitlang.frames import SAMPLE_RATE

Kind = tuple[str, str, int]
"""Sample format, channel layout and rate of a frame."""

CANCELLED = 0.01
"""A mix with less than this share of its channels' energy (20 dB) has lost its sound.

Two independent channels keep half of it, equal ones all. A channel with its polarity reversed leaves nothing, or what a
lossy codec made different.
"""

PLAIN: Mapping[str, tuple[type[np.generic], np.float32]] = {
    "s16": (np.int16, np.float32(2**-15)),
    "s16p": (np.int16, np.float32(2**-15)),
    "s32": (np.int32, np.float32(2**-31)),
    "s32p": (np.int32, np.float32(2**-31)),
    "flt": (np.float32, np.float32(1)),
    "fltp": (np.float32, np.float32(1)),
}
"""Type and scale of samples, by sample format, that only become floats where they are mono at 16 kHz already.

The filter graph of a resampler would take as long as the decoder of FLAC.
"""

_INAUDIBLE = 1e-8
"""Energy of a sample 80 dB below full scale. A mix counts as no quieter, so that silence is not judged by its noise."""


@dataclass(frozen=True)
class Piece:
    """Samples at 16 kHz, and the energy of the frame that they come from, before and after its channels are mixed.

    The energies are without what is constant in a frame, and 0 unless the mix is the mean of the channels.
    """

    samples_N: NDArray[np.float32]
    channels: float = 0.0
    mixed: float = 0.0

    def cut(self, length: int | None) -> "Piece":
        """The piece without the samples from `length` on."""
        return replace(self, samples_N=self.samples_N[:length])


def resampled_length(num_samples: int, rate: int) -> int:
    """Number of samples at 16 kHz that `num_samples` at `rate` become, rounded down."""
    return num_samples * SAMPLE_RATE // rate


def phase_step(rate: int) -> int:
    """Native samples after which the resampling filter is back in the same phase (441 at 44.1 kHz)."""
    return rate // gcd(rate, SAMPLE_RATE)


class Resampler:
    """Resamples frames to blocks of mono 16 kHz samples.

    n samples at rate r become exactly `resampled_length(n, r)`; libswresample itself yields that or one more, depending
    on the phase of its filter. Channels are mixed by the standard downmix, normalised so that nothing clips; channels
    without known positions (microphone arrays) are averaged.

    Args:
        channel: the channel to keep, from 0; None = mix all. All frames must have it.
    """

    def __init__(self, channel: int | None = None) -> None:
        self._channel = channel
        self._kind: Kind | None = None
        self._mixer: Graph | None = None
        self._averages = False
        self._is_plain = False
        self._resampler = AudioResampler()
        self._taken = 0
        self._given = 0

    def push(self, frame: AudioFrame) -> Iterator[Piece]:
        """Yield the pieces that this frame completes; the kind of frames may change, as in joined files."""
        listed = listed_channels(frame.layout)
        kind = (frame.format.name, listed or frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            yield from self.flush()
            self._begin(kind, frame.layout.nb_channels, is_listed=listed is not None)
        self._taken += frame.samples
        if self._is_plain:
            self._given += frame.samples
            yield Piece(_as_float(frame))
            return
        frame.pts = None  # only the order counts: gaps in the clock are not filled
        energies = _energies(frame) if self._averages and frame.samples else (0.0, 0.0)
        for mixed in [frame] if self._mixer is None else _through(self._mixer, frame):
            for samples_N in self._arrays(self._resampler.resample(mixed)):
                yield Piece(samples_N, *energies)
                energies = (0.0, 0.0)

    def flush(self) -> Iterator[Piece]:
        """Yield the pieces still inside the filter; the next frame starts a new stream."""
        if self._kind is None:
            return
        due = resampled_length(self._taken, self._kind[2])
        for samples_N in self._arrays(self._resampler.resample(None)):
            yield Piece(samples_N[: due - (self._given - len(samples_N))])
        if due > self._given:  # sound shorter than the filter: the rest is silence
            yield Piece(np.zeros(due - self._given, np.float32))
        self._kind = None

    def _begin(self, kind: Kind, channels: int, *, is_listed: bool) -> None:
        unplaced = channels > 2 and (is_listed or kind[1] == f"{channels} channels")
        self._averages = self._channel is None and (channels == 2 or (unplaced and not _is_misread(kind[0], channels)))
        if self._channel is not None and channels > 1:
            self._mixer = _panning(kind, f"c{self._channel}")
        else:
            self._mixer = _panning(kind, _average(channels)) if unplaced else None
        self._is_plain = kind[1:] == ("mono", SAMPLE_RATE) and kind[0] in PLAIN
        # Without normalisation, a float downmix of two equal channels is 3 dB louder than either.
        self._resampler = AudioResampler("fltp", "mono", SAMPLE_RATE, options={"rematrix_maxval": "1.0"})
        self._kind, self._taken, self._given = kind, 0, 0

    def _arrays(self, frames: list[AudioFrame]) -> Iterator[NDArray[np.float32]]:
        for frame in frames:
            # Flushing an idle resampler gives [None], despite the stubs.
            if frame is not None:  # pyright: ignore[reportUnnecessaryComparison]
                self._given += frame.samples
                yield frame.to_ndarray()[0]


def _as_float(frame: AudioFrame) -> NDArray[np.float32]:
    """The samples of a frame of a kind in `PLAIN`, as libswresample converts them."""
    kind, scale = PLAIN[frame.format.name]
    stored_N = np.frombuffer(cast(Any, frame.planes[0]), kind, frame.samples)
    return np.multiply(stored_N, scale, dtype=np.float32)


def _energies(frame: AudioFrame) -> tuple[float, float]:
    """Return the mean energy of the channels, and that of their mean, both summed over the samples; full scale is 1.

    The mean of n independent channels keeps 1 / n; it counts n / 2 times, so that all are judged as two are.
    """
    samples, channels = frame.to_ndarray(), frame.layout.nb_channels
    planes_CN = samples if frame.format.is_planar else samples.reshape(-1, channels).T
    scale = 2.0 ** (8 * samples.itemsize - 1) if samples.dtype.kind in "iu" else 1.0
    with np.errstate(over="ignore", invalid="ignore"):  # samples that are not finite are reported elsewhere
        channels_CN = planes_CN.astype(np.float32, order="C")
        channels_CN -= channels_CN.mean(axis=1, keepdims=True)
        products_CC = channels_CN @ channels_CN.T / scale**2
    mixed = float(products_CC.sum()) / (2 * channels)
    return float(products_CC.trace()) / channels, max(mixed, 0.0) + _INAUDIBLE * frame.samples


def _is_misread(sample_format: str, channels: int) -> bool:
    """Return whether PyAV 18 would read beyond the pointers of such frames."""
    return sample_format.endswith("p") and channels >= 8


def _average(channels: int) -> str:
    """Mean of the channels, in the notation of FFmpeg's filter `pan`."""
    return "+".join(f"{1 / channels!r}*c{channel}" for channel in range(channels))


def _panning(kind: Kind, sum_of_channels: str) -> Graph:
    """Return a filter graph that makes one channel of several, at the same rate.

    A filter instead of NumPy, which cannot take all frames (see `_is_misread`).
    """
    graph = Graph()
    nodes = [
        graph.add(
            "abuffer",
            sample_fmt=kind[0],
            channel_layout=kind[1],
            sample_rate=str(kind[2]),
            time_base=f"1/{kind[2]}",
        ),
        graph.add("aformat", sample_fmts="fltp"),
        graph.add("pan", f"mono|c0={sum_of_channels}"),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    return graph


def _through(graph: Graph, frame: AudioFrame) -> Iterator[AudioFrame]:
    graph.push(frame)
    while True:
        try:
            mixed = graph.pull()
        except (NothingYet, NothingMore):
            return
        if isinstance(mixed, AudioFrame):
            mixed.pts = None
            yield mixed
