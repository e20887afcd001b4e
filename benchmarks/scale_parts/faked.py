"""Features without a model, for the benchmark of scale, which copies this file into a copy of `unitlang/features`.

Legend: N = samples at 16 kHz, T = frames, D = feature dims.
"""

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

import numpy as np

from unitlang.features.base import Extractor, ExtractorConfig, FloatArray, fingerprint_of
from unitlang.frames import HUBERT_GRID, FrameGrid


class FakedConfig(ExtractorConfig):
    """Random features, the same for the same number in the first sample."""

    speed: ClassVar[float] = 100_000.0

    kind: Literal["faked"] = "faked"
    """Kind of features."""

    def grid(self) -> FrameGrid:
        """See `ExtractorConfig.grid`."""
        return HUBERT_GRID

    def fingerprint(self) -> str:
        """See `ExtractorConfig.fingerprint`."""
        return fingerprint_of({"kind": self.kind})

    def load(self, device: str = "cpu") -> "FakedExtractor":  # noqa: ARG002
        """See `ExtractorConfig.load`."""
        return FakedExtractor(self)


class FakedExtractor(Extractor):
    """Gives each utterance random features."""

    dim = 2

    def __init__(self, config: FakedConfig) -> None:
        self.config = config
        self.grid = config.grid()

    def fingerprint(self) -> str:
        """See `FeatureExtractor.fingerprint`."""
        return self.config.fingerprint()

    def stream(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """See `FeatureExtractor.stream`."""
        waveforms_N = list(blocks)
        frames = self.grid.num_frames(sum(map(len, waveforms_N)))
        if frames:
            yield np.random.default_rng(int(waveforms_N[0][0])).random((frames, self.dim), np.float32)
