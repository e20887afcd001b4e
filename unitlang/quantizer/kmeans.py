"""k-means: a greedy k-means++ start, then Lloyd's iterations over chunks of the frames, on all cores."""

# Shapes: N = frames, D = feature dims, K = clusters, B = frames of one matrix product.

import numpy as np
from numpy.typing import NDArray

from unitlang.errors import UnitlangError
from unitlang.quantizer.chunks import FloatArray, FrameArray, Workers, start_workers
from unitlang.quantizer.kmeans_start import start

MIN_CLUSTERS = 2
MAX_CLUSTERS = 20_000
"""Units are encoded as CJK codepoints, of which U+4E00..U+9FFF holds 20,992, and stored as uint16."""

_SAMPLE_FRAMES_PER_CLUSTER = 48
_SAMPLE_FRAMES_AT_LEAST = 24_000
"""Bounds of the sample that the start is chosen from and of the smallest subset that is iterated over.

With fewer frames per cluster, centroids overfit. The start costs as much as eight iterations over its sample.
"""

_SUBSET_STRIDE = 4

_TOLERANCE = 5e-4
"""Iterations end when one lowers the inertia by less than this share of it."""

_PRODUCT_FRAMES = 512
"""Frames per matrix product: its result, 2 MB at k = 1000, stays in the cache until its minima are taken."""

_REPAIR_ROUNDS = 10


def check_k(k: int) -> None:
    """Check the number of clusters.

    Raises:
        UnitlangError: `k` is out of range.
    """
    if not MIN_CLUSTERS <= k <= MAX_CLUSTERS:
        raise UnitlangError(f"k must be within {MIN_CLUSTERS}..{MAX_CLUSTERS}, got {k}")


def fit_kmeans(
    features_ND: FrameArray, k: int, *, seed: int, iterations: int, threads: int | None = None
) -> FloatArray:
    """Fit k centroids to the given frames, on the CPU.

    Starts from greedy k-means++ on a random S = max(24,000, 48 k) frames. Lloyd's iterations follow: over every 4th,
    16th, 64th, ... frame, with the largest stride that leaves S of them; then over four times as many, at last over
    all. At each size they end when an iteration lowers the inertia by less than 0.05 %, or after `iterations`.

    The frames are not converted as a whole: besides the S frames of the start in float32, at most 8,192 per thread are
    held in another type at a time, and two arrays of k x D float64 per thread. The values depend on the data, k, seed
    and iterations, but not on the number of threads: the sums of the chunks are added in the order of the chunks.

    Args:
        features_ND: float16 or float32.
        k: clusters, 2..20,000.
        seed: of the sample and of the start.
        iterations: most Lloyd's iterations at each size.
        threads: number of threads; by default the number of cores that this process may use.

    Returns:
        centroids_KD float32, all different, each the nearest one of at least one frame.

    Raises:
        UnitlangError: fewer than k frames with distinct float32 distances, NaN or infinite values, or k out of range.
    """
    check_k(k)
    if features_ND.ndim != 2:
        raise UnitlangError(f"features must be a matrix of frames x dims, got shape {features_ND.shape}")
    if len(features_ND) < k:
        raise UnitlangError(f"{len(features_ND)} frames cannot make k = {k} clusters: give more audio or lower k")
    with start_workers(threads) as workers:
        if not all(workers.each_chunk(lambda part_ND, _: bool(np.isfinite(part_ND).all()), features_ND)):
            raise UnitlangError("the features hold NaN or infinite values: no k-means is fitted to them")
        centroids_KD = start(_start_sample(features_ND, k, seed), k, seed, workers)
        for stride in _strides(len(features_ND), k):
            centroids_KD = _iterate(features_ND[::stride], centroids_KD, iterations, workers)
        return _repair(features_ND, centroids_KD, workers)


def _start_sample(features_ND: FrameArray, k: int, seed: int) -> FrameArray:
    size = _sample_frames(k)
    if len(features_ND) > size:
        rows = np.random.default_rng(seed).choice(len(features_ND), size, replace=False)
        features_ND = features_ND[np.sort(rows)]
    return features_ND


def _sample_frames(k: int) -> int:
    return max(_SAMPLE_FRAMES_AT_LEAST, _SAMPLE_FRAMES_PER_CLUSTER * k)


def _strides(frames: int, k: int) -> list[int]:
    """Strides through the frames, from that of the smallest subset to 1, which takes all frames."""
    strides = [1]
    while frames // (strides[0] * _SUBSET_STRIDE) >= _sample_frames(k):
        strides.insert(0, strides[0] * _SUBSET_STRIDE)
    return strides


def _iterate(features_ND: FrameArray, centroids_KD: FloatArray, iterations: int, workers: Workers) -> FloatArray:
    """Run Lloyd's iterations until they gain little; a cluster without frames keeps its centroid."""
    last = np.inf
    for _ in range(iterations):
        sums_KD, counts_K, inertia = _sums(features_ND, centroids_KD, workers)
        used_K = counts_K > 0
        centroids_KD = centroids_KD.copy()
        centroids_KD[used_K] = sums_KD[used_K] / counts_K[used_K, None]
        if last - inertia < _TOLERANCE * inertia:
            break
        last = inertia
    return centroids_KD


def _sums(
    features_ND: FrameArray, centroids_KD: FloatArray, workers: Workers
) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
    """Sum and number of each cluster's frames, and the sum of their squared distances from its centroid."""
    from scipy.sparse import csc_array

    k = len(centroids_KD)

    def of_part(part_ND: FloatArray, _: int) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
        units_N, distances_N = _nearest(part_ND, centroids_KD)
        size = len(part_ND)
        members_KN = csc_array((np.ones(size), units_N, np.arange(size + 1)), shape=(k, size))  # sums in float64
        return members_KN @ part_ND, np.bincount(units_N, minlength=k), float(distances_N.sum(dtype=np.float64))

    sums_KD, counts_K, inertia = np.zeros(centroids_KD.shape), np.zeros(k, np.int64), 0.0
    for part_KD, part_K, part_inertia in workers.each_chunk(of_part, features_ND):
        sums_KD += part_KD
        counts_K += part_K
        inertia += part_inertia
    return sums_KD, counts_K, inertia


def _nearest(part_ND: FloatArray, centroids_KD: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Nearest centroid of each frame and the squared distance from it."""
    units_N = np.empty(len(part_ND), np.int64)
    distances_N = np.einsum("nd,nd->n", part_ND, part_ND)
    squares_K = np.einsum("kd,kd->k", centroids_KD, centroids_KD)
    factors_DK = -2 * centroids_KD.T
    products_BK = np.empty((_PRODUCT_FRAMES, len(centroids_KD)), np.float32)
    for first in range(0, len(part_ND), _PRODUCT_FRAMES):
        block_BD = part_ND[first : first + _PRODUCT_FRAMES]
        scores_BK = np.matmul(block_BD, factors_DK, out=products_BK[: len(block_BD)])
        scores_BK += squares_K
        units_B = units_N[first : first + _PRODUCT_FRAMES] = scores_BK.argmin(1)
        distances_N[first : first + _PRODUCT_FRAMES] += scores_BK[np.arange(len(block_BD)), units_B]
    return units_N, np.maximum(distances_N, 0, out=distances_N)


def _repair(features_ND: FrameArray, centroids_KD: FloatArray, workers: Workers) -> FloatArray:
    """Move centroids that equal another one or have no frame to the frames that lie farthest from their centroids."""
    k = len(centroids_KD)
    for _ in range(_REPAIR_ROUNDS):
        current_KD = centroids_KD
        parts = list(workers.each_chunk(lambda part_ND, _, c_KD=current_KD: _nearest(part_ND, c_KD), features_ND))
        idle_K = np.bincount(np.concatenate([units_N for units_N, _ in parts]), minlength=k) == 0
        _, originals = np.unique(centroids_KD, axis=0, return_index=True)
        idle_K[np.setdiff1d(np.arange(k), originals)] = True
        if not idle_K.any():
            return centroids_KD
        farthest_N = np.argsort(-np.concatenate([distances_N for _, distances_N in parts]), kind="stable")
        centroids_KD = centroids_KD.copy()
        centroids_KD[idle_K] = _different(features_ND, farthest_N, int(idle_K.sum()), centroids_KD[~idle_K])
    raise UnitlangError(f"the frames are too much alike for k = {k} clusters: give more audio or lower k")


def _different(features_ND: FrameArray, order_N: NDArray[np.intp], count: int, taken_KD: FloatArray) -> FloatArray:
    """Return the first `count` frames in `order_N` that equal neither each other nor a row of `taken_KD`."""
    seen = {row_D.tobytes() for row_D in taken_KD}
    rows: list[FloatArray] = []
    for n in order_N:
        if len(rows) == count:
            break
        row_D = features_ND[n].astype(np.float32)
        if row_D.tobytes() not in seen:
            seen.add(row_D.tobytes())
            rows.append(row_D)
    if len(rows) < count:
        different = len({row_D.tobytes() for row_D in features_ND})  # fewer than k: all are in `seen`
        raise UnitlangError(
            f"only {different} different frames for k = {len(taken_KD) + count} clusters: give more audio or lower k"
        )
    return np.stack(rows)
