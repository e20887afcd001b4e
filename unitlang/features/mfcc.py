"""39-dimensional MFCC on HuBERT's frame grid, as in its first iteration (arXiv 2106.07447, sec. IV-B)."""

# Shapes: N = samples at 16 kHz, T = frames, C = cepstral coefficients, D = feature dims.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from unitlang.features.base import Extractor, FloatArray, fingerprint_of, not_finite
from unitlang.features.windows import windows
from unitlang.frames import FRAME_HOP, FRAME_SAMPLES, SAMPLE_RATE

REVISION = 1
"""Raised with every change of the values, so that nothing computed before is mixed with them."""

_WINDOW_FRAMES = 3_000
_DELTA_REACH = 4
"""Frames that a delta of deltas sees to each side: twice the 2 of one regression window of 5."""


class MfccConfig(BaseModel):
    """MFCC features: no model, no download; for tests, first looks and HuBERT's first iteration."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["mfcc"] = "mfcc"
    """Which features."""


class MfccExtractor(Extractor):
    """13 Kaldi MFCC with C0, their deltas and the deltas of these, without dither.

    The settings are fairseq's `dump_mfcc_feature.py` but for the frame shift: 20 ms here, 10 ms there.
    """

    dim = 39

    def __init__(self, config: MfccConfig) -> None:
        self.config = config

    def fingerprint(self) -> str:
        """See `FeatureExtractor.fingerprint`."""
        return fingerprint_mfcc(self.config)

    def stream(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """See `FeatureExtractor.stream`."""
        for window in windows(blocks, window_frames=_WINDOW_FRAMES, context_frames=_DELTA_REACH):
            features_TD = self._compute(window.waveform_N)[window.first : window.last]
            if not np.isfinite(features_TD).all():
                raise not_finite()
            yield features_TD

    def _compute(self, waveform_N: FloatArray) -> FloatArray:
        import torch
        from torchaudio.compliance import kaldi
        from torchaudio.functional import compute_deltas

        mfcc_TC = kaldi.mfcc(
            torch.from_numpy(waveform_N)[None],
            sample_frequency=SAMPLE_RATE,
            frame_length=1000 * FRAME_SAMPLES / SAMPLE_RATE,
            frame_shift=1000 * FRAME_HOP / SAMPLE_RATE,
            use_energy=False,
            dither=0.0,
        )
        mfcc_CT = mfcc_TC.T
        delta_CT = compute_deltas(mfcc_CT)
        features_DT = torch.cat([mfcc_CT, delta_CT, compute_deltas(delta_CT)])
        features_TD: FloatArray = np.ascontiguousarray(features_DT.T.numpy())
        return features_TD


def fingerprint_mfcc(config: MfccConfig) -> str:
    """SHA-256 (hex) of all that the values depend on; does not import torch."""
    return fingerprint_of({"kind": config.kind, "revision": REVISION})
