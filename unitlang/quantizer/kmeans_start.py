"""Start of k-means: greedy k-means++ (Arthur and Vassilvitskii, 2007) with candidates drawn in advance.

Greedy k-means++ chooses one frame after the other. Each time it draws a few candidates, every frame with a probability
proportional to its squared distance from the nearest frame chosen so far, and keeps the candidate that lowers the sum
of those distances most. Computing distances for a few candidates at a time is bound by memory. So this module draws
many candidates at once, by the current distances, and computes all their distances together; when its turn comes, a
candidate is rejected with the probability that makes its distribution the present one (rejection sampling).
"""

# Shapes: N = frames, D = feature dims, E = D + 2, K = clusters, C = candidates drawn at once, G = those of one choice.

import numpy as np
from numpy.typing import NDArray

from unitlang.quantizer.chunks import FloatArray, FrameArray, Workers

_CANDIDATES = 8
"""Candidates per choice, as many as scikit-learn's 2 + ln k for k = 500 and 1000."""

_DRAWN_AT_ONCE = 128


def start(frames_ND: FrameArray, k: int, seed: int, workers: Workers) -> FloatArray:
    """Choose k of the frames to start from; equal frames may be chosen twice.

    Args:
        frames_ND: float16 or float32, at least k.
        k: clusters.
        seed: of the choices.
        workers: compute the distances; their number does not change the result.

    Returns:
        centroids_KD float32.
    """
    generator = np.random.default_rng(seed)
    distances = _Distances(frames_ND, workers)
    chosen = [int(generator.integers(len(frames_ND)))]
    nearest_N = distances(np.array(chosen))[0].clip(0)
    nearest_N[chosen[0]] = 0
    while len(chosen) < k:
        total_N = np.cumsum(nearest_N, dtype=np.float64)
        if total_N[-1] == 0:
            chosen += generator.integers(len(frames_ND), size=k - len(chosen)).tolist()
            break
        drawn_C = np.searchsorted(total_N, generator.random(_DRAWN_AT_ONCE) * total_N[-1], side="right")
        drawn_C = np.minimum(drawn_C, len(frames_ND) - 1)
        limits_C = generator.random(_DRAWN_AT_ONCE, dtype=np.float32) * nearest_N[drawn_C]
        chosen += _choose(drawn_C, distances(drawn_C), limits_C, nearest_N, k - len(chosen))
    return frames_ND[chosen].astype(np.float32)


class _Distances:
    """Squared distances of all frames from some of them, by one matrix product: |c|^2 - 2 c x + |x|^2."""

    def __init__(self, frames_ND: FrameArray, workers: Workers) -> None:
        self._workers = workers
        count, dims = frames_ND.shape
        self._frames_NE = np.ones((count, dims + 2), np.float32)
        centred_ND = self._frames_NE[:, :dims]
        np.subtract(frames_ND, frames_ND.mean(0, np.float32), out=centred_ND)  # loses fewer digits
        np.einsum("nd,nd->n", centred_ND, centred_ND, out=self._frames_NE[:, dims])

    def __call__(self, rows_C: NDArray[np.int64]) -> FloatArray:
        """Return distances_CN; rounding makes some of them slightly negative."""
        distances_CN = np.empty((len(rows_C), len(self._frames_NE)), np.float32)
        frames_CE = self._frames_NE[rows_C]
        factors_CE = np.concatenate([-2 * frames_CE[:, :-2], frames_CE[:, -1:], frames_CE[:, -2:-1]], axis=1)

        def of_part(part_NE: FloatArray, first: int) -> None:
            np.matmul(factors_CE, part_NE.T, out=distances_CN[:, first : first + len(part_NE)])

        for _ in self._workers.each_chunk(of_part, self._frames_NE):
            pass
        return distances_CN


def _choose(
    drawn_C: NDArray[np.int64], distances_CN: FloatArray, limits_C: FloatArray, nearest_N: FloatArray, wanted: int
) -> list[int]:
    """Choose among the candidates while there are enough of them, and update `nearest_N`."""
    chosen: list[int] = []
    first = 0
    while len(chosen) < wanted:
        left_C = first + np.flatnonzero(limits_C[first:] < nearest_N[drawn_C[first:]])
        group_G = left_C[:_CANDIDATES]
        if len(group_G) < (_CANDIDATES if chosen else 1):
            break
        nearest_GN = np.minimum(distances_CN[group_G], nearest_N)
        best = int(nearest_GN.sum(1).argmin())
        np.maximum(nearest_GN[best], 0, out=nearest_N)
        row = int(drawn_C[group_G[best]])
        nearest_N[row] = 0
        chosen.append(row)
        first = int(group_G[-1]) + 1
    return chosen
