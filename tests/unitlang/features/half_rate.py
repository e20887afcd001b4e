"""A 25 Hz extractor for tests, as a stranger would add one: averages of two MFCC frames.

Tests also copy this file into a copy of `unitlang/features`.
"""

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

from unitlang.features.base import Extractor, ExtractorConfig, FloatArray, fingerprint_of
from unitlang.features.mfcc import MfccConfig
from unitlang.features.windows import windows
from unitlang.frames import FrameGrid

WINDOW_FRAMES, CONTEXT_FRAMES = 1_000, 2


class HalfRateConfig(ExtractorConfig):
    """MFCC at 25 frames per second."""

    speed: ClassVar[float] = 400.0

    kind: Literal["half_rate"] = "half_rate"
    """Which features."""

    def grid(self) -> FrameGrid:
        return FrameGrid(hop=640, view=720)  # two MFCC frames: 400 samples and a hop of 320

    def fingerprint(self) -> str:
        return fingerprint_of({"kind": self.kind, "revision": 1})

    def load(self, device: str = "cpu") -> "HalfRateExtractor":
        return HalfRateExtractor(self)


class HalfRateExtractor(Extractor):
    dim = 39

    def __init__(self, config: HalfRateConfig) -> None:
        self.config = config
        self.grid = config.grid()
        self._mfcc = MfccConfig().load()

    def fingerprint(self) -> str:
        return self.config.fingerprint()

    def stream(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        for window in windows(blocks, grid=self.grid, window_frames=WINDOW_FRAMES, context_frames=CONTEXT_FRAMES):
            mfcc_TD = self._mfcc.extract(window.waveform_N)
            pairs_T2D = mfcc_TD[: len(mfcc_TD) // 2 * 2].reshape(-1, 2, self.dim)
            yield pairs_T2D.mean(1)[window.first : window.last]
