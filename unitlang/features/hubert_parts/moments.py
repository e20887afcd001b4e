"""Sums over a waveform that determine the norms of HuBERT's first layer, at any length, in one pass."""

# Shapes: N = samples at 16 kHz, L = positions of the first convolution, K = its taps.

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

TAPS = 10
HOP = 5
"""Kernel and stride of HuBERT's first convolution (arXiv 2106.07447, sec. IV-A)."""


class Moments:
    """First and second moments of a waveform's samples and of the samples under the first convolution's taps.

    The convolution is linear: over all its positions, the mean and variance of a channel with weights w_K are w . m and
    w' C w, with m and C the mean and covariance of the ten samples under the taps. This determines the group norm after
    it (one group per channel, over all time) before any feature is computed.

    Attributes:
        samples: samples so far.
        positions: positions of the convolution so far, `(samples - 10) // 5 + 1`.
    """

    def __init__(self) -> None:
        self.samples = 0
        self.positions = 0
        self._sums_2 = np.zeros(2)
        self._taps_K = np.zeros(TAPS)
        self._products_KK = np.zeros((TAPS, TAPS))
        self._rest_N = np.empty(0)

    def add(self, waveform_N: FloatArray) -> None:
        """Add the next samples.

        The last bits of the sums depend on the block boundaries, so use the same ones for the same waveform.
        """
        block_N = waveform_N.astype(np.float64)
        self.samples += len(block_N)
        self._sums_2 += block_N.sum(), block_N @ block_N
        block_N = np.concatenate([self._rest_N, block_N])
        if len(block_N) >= TAPS:
            taps_LK = np.lib.stride_tricks.sliding_window_view(block_N, TAPS)[::HOP]
            self.positions += len(taps_LK)
            self._taps_K += taps_LK.sum(0)
            self._products_KK += taps_LK.T @ taps_LK
            block_N = block_N[len(taps_LK) * HOP :]
        self._rest_N = block_N

    def level(self) -> tuple[float, float]:
        """Mean and (biased) variance of the samples."""
        mean, power = self._sums_2 / self.samples
        return float(mean), max(0.0, float(power - mean * mean))

    def taps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean of shape (K,) and (biased) covariance of shape (K, K) of the samples under the taps."""
        mean_K = self._taps_K / self.positions
        return mean_K, self._products_KK / self.positions - np.outer(mean_K, mean_K)
