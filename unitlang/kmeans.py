"""k-means: greedy k-means++ to start with, then FAISS's iterations."""

# Shapes: N = frames, D = feature dims, K = clusters.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Generator
from contextlib import contextmanager

import faiss
import numpy as np
from numpy.typing import NDArray

from unitlang.errors import UnitlangError

FloatArray = NDArray[np.float32]

MIN_CLUSTERS = 2
MAX_CLUSTERS = 20_000
"""Units are written as CJK codepoints, of which U+4E00..U+9FFF holds 20,992, and stored as uint16."""

_START_POINTS_PER_CLUSTER = 20
_START_POINTS_AT_LEAST = 50_000
"""Bounds of the sample that the start is drawn from: its cost is N * K * log K, more than an iteration's."""

_REPAIR_ROUNDS = 10


def check_k(k: int) -> None:
    """Raise UnitlangError unless `k` clusters can be told apart by units."""
    if not MIN_CLUSTERS <= k <= MAX_CLUSTERS:
        raise UnitlangError(f"k must be within {MIN_CLUSTERS}..{MAX_CLUSTERS}, got {k}")


def fit_kmeans(features_ND: FloatArray, k: int, *, seed: int, iterations: int) -> FloatArray:
    """Fit k centroids to all of the given frames; nothing is subsampled but the start.

    The start is scikit-learn's greedy k-means++ on at most max(50,000, 20 k) frames: from FAISS's own random
    start the iterations end in worse optima. The values depend on the data, k, seed and iterations, not on
    the number of threads: matrix products change in the last bit with it, so the fit runs on one.
    Where FAISS finds GPUs, the iterations run there.

    Args:
        features_ND: float32.
        k: clusters, 2..20,000.
        seed: of the sample and of the start.
        iterations: Lloyd's iterations.

    Returns:
        centroids_KD float32, all different, each the nearest one of some of the frames.

    Raises:
        UnitlangError: fewer (different) frames than k, NaN or infinite values, or k out of range.
    """
    check_k(k)
    features_ND = np.ascontiguousarray(features_ND, np.float32)
    if features_ND.ndim != 2:
        raise UnitlangError(f"features must be a matrix of frames x dims, got shape {features_ND.shape}")
    if len(features_ND) < k:
        raise UnitlangError(f"{len(features_ND)} frames cannot make k = {k} clusters: give more audio or lower k")
    if not np.isfinite(features_ND).all():
        raise UnitlangError("the features hold NaN or infinite values: no k-means is fitted to them")
    with one_thread():
        centroids_KD = _iterate(features_ND, _start(features_ND, k, seed), seed, iterations)
        return _repair(features_ND, centroids_KD)


@contextmanager
def one_thread() -> Generator[None]:
    """Run FAISS on one thread, so that its results do not depend on how many there are."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _start(features_ND: FloatArray, k: int, seed: int) -> FloatArray:
    from sklearn.cluster import kmeans_plusplus
    from threadpoolctl import threadpool_limits

    size = max(_START_POINTS_AT_LEAST, _START_POINTS_PER_CLUSTER * k)
    if len(features_ND) > size:
        rows = np.random.default_rng(seed).choice(len(features_ND), size, replace=False)
        features_ND = features_ND[np.sort(rows)]
    with threadpool_limits(limits=1):
        centroids_KD, _ = kmeans_plusplus(features_ND, k, random_state=seed)
    return np.asarray(centroids_KD, np.float32)


def _iterate(features_ND: FloatArray, centroids_KD: FloatArray, seed: int, iterations: int) -> FloatArray:
    k, dim = centroids_KD.shape
    kmeans = faiss.Kmeans(
        dim,
        k,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=-(-len(features_ND) // k),  # all: FAISS would take 256 per centroid, silently
        gpu=faiss.get_num_gpus() > 0,
    )
    kmeans.train(features_ND, init_centroids=centroids_KD)
    return np.asarray(kmeans.centroids, np.float32)


def _repair(features_ND: FloatArray, centroids_KD: FloatArray) -> FloatArray:
    """Move centroids that double another one or have no frame to the frames that lie farthest from theirs."""
    k, dim = centroids_KD.shape
    for _ in range(_REPAIR_ROUNDS):
        index = faiss.IndexFlatL2(dim)
        index.add(centroids_KD)
        distances_N1, nearest_N1 = index.search(features_ND, 1)
        idle = np.bincount(nearest_N1[:, 0], minlength=k) == 0
        _, originals = np.unique(centroids_KD, axis=0, return_index=True)
        idle[np.setdiff1d(np.arange(k), originals)] = True
        if not idle.any():
            return centroids_KD
        kept_KD = centroids_KD[~idle]
        farthest_N = np.argsort(-distances_N1[:, 0], kind="stable")
        centroids_KD[idle] = _different(features_ND, farthest_N, int(idle.sum()), kept_KD)
    raise UnitlangError(f"the frames are too much alike for k = {k} clusters: give more audio or lower k")


def _different(features_ND: FloatArray, order_N: NDArray[np.intp], count: int, taken_KD: FloatArray) -> FloatArray:
    """The first `count` frames in `order_N` that equal neither each other nor a row of `taken_KD`."""
    seen = {row_D.tobytes() for row_D in taken_KD}
    rows: list[FloatArray] = []
    for n in order_N:
        if len(rows) == count:
            break
        key = features_ND[n].tobytes()
        if key not in seen:
            seen.add(key)
            rows.append(features_ND[n])
    if len(rows) < count:
        raise UnitlangError(
            f"only {len(np.unique(features_ND, axis=0))} different frames for k = {len(taken_KD) + count} "
            "clusters: give more audio or lower k"
        )
    return np.stack(rows)
