"""39-dimensional MFCC on HuBERT's frame grid, as in HuBERT's first iteration (arXiv 2106.07447, sec. IV-B)."""

# Shapes: N = samples at 16 kHz, T = frames, C = cepstral coefficients, D = feature dims.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

import numpy as np

from unitlang.errors import UnitlangError
from unitlang.features.base import Extractor, ExtractorConfig, FloatArray, fingerprint_of
from unitlang.features.windows import windows
from unitlang.frames import HUBERT_GRID, SAMPLE_RATE, FrameGrid

REVISION = 1
"""Raised with every change of the values, so that old results are never mixed with new ones."""

_WINDOW_FRAMES = 3_000
_DELTA_REACH = 4
"""Frames on each side that a delta of deltas depends on: twice the 2 of one regression window of 5."""


class MfccConfig(ExtractorConfig):
    """MFCC features: no model, no download; for tests, first looks and HuBERT's first iteration."""

    speed: ClassVar[float] = 400.0

    kind: Literal["mfcc"] = "mfcc"
    """Kind of features."""

    def grid(self) -> FrameGrid:
        """See `ExtractorConfig.grid`."""
        return HUBERT_GRID

    def fingerprint(self) -> str:
        """See `ExtractorConfig.fingerprint`."""
        return fingerprint_of({"kind": self.kind, "revision": REVISION})

    def load(self, device: str = "cpu") -> "MfccExtractor":  # noqa: ARG002
        """See `ExtractorConfig.load`; MFCC always runs on the CPU."""
        return MfccExtractor(self)


class MfccExtractor(Extractor):
    """Computes 13 Kaldi MFCC with C0, their deltas and the deltas of these, without dither.

    The settings are those of fairseq's `dump_mfcc_feature.py`, except for the frame shift: 20 ms here, 10 ms there.
    """

    dim = 39

    def __init__(self, config: MfccConfig) -> None:
        self.config = config
        self.grid = config.grid()

    def fingerprint(self) -> str:
        """See `FeatureExtractor.fingerprint`."""
        return self.config.fingerprint()

    def stream(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """See `FeatureExtractor.stream`."""
        cut = windows(blocks, grid=self.grid, window_frames=_WINDOW_FRAMES, context_frames=_DELTA_REACH)
        for window in cut:
            features_TD = self._compute(window.waveform_N)[window.first : window.last]
            if not np.isfinite(features_TD).all():
                raise UnitlangError("MFCC are NaN or infinite: the samples are too large; sound lies within 1")
            yield features_TD

    def _compute(self, waveform_N: FloatArray) -> FloatArray:
        import torch
        from torchaudio.compliance import kaldi
        from torchaudio.functional import compute_deltas

        mfcc_TC = kaldi.mfcc(
            torch.from_numpy(waveform_N)[None],
            sample_frequency=SAMPLE_RATE,
            frame_length=1000 * self.grid.view / SAMPLE_RATE,
            frame_shift=1000 * self.grid.hop / SAMPLE_RATE,
            use_energy=False,
            dither=0.0,
        )
        mfcc_CT = mfcc_TC.T
        delta_CT = compute_deltas(mfcc_CT)
        features_DT = torch.cat([mfcc_CT, delta_CT, compute_deltas(delta_CT)])
        features_TD: FloatArray = np.ascontiguousarray(features_DT.T.numpy())
        return features_TD
