"""k-means: good, exact in what it promises, the same on any number of threads."""

# scikit-learn's annotations deny what its own documentation allows: n_init as a number, init as an array
# pyright: reportArgumentType=false

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans

from unitlang.errors import UnitlangError
from unitlang.quantizer.chunks import CHUNK_FRAMES
from unitlang.quantizer.kmeans import fit_kmeans


def blobs(n: int, dim: int, centers: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centers_KD = 3 * random.normal(size=(centers, dim))
    return (centers_KD[random.integers(centers, size=n)] + random.normal(size=(n, dim))).astype(np.float32)


def inertia(points_ND: np.ndarray, centroids_KD: np.ndarray) -> float:
    points, centroids = points_ND.astype(np.float64), centroids_KD.astype(np.float64)
    squares = (points**2).sum(1)[:, None] + (centroids**2).sum(1) - 2 * points @ centroids.T
    return float(squares.min(1).mean())


def used(points_ND: np.ndarray, centroids_KD: np.ndarray) -> int:
    return len(np.unique(KMeans.predict(model_of(centroids_KD), points_ND)))


def model_of(centroids_KD: np.ndarray) -> KMeans:
    model = KMeans(len(centroids_KD), init=centroids_KD, n_init=1, max_iter=1).fit(centroids_KD)
    model.cluster_centers_ = centroids_KD
    return model


@pytest.mark.parametrize(("dim", "k"), [(39, 100), pytest.param(768, 10, marks=pytest.mark.slow)])
def test_same_on_any_number_of_threads(dim: int, k: int) -> None:
    points_ND = blobs(2 * CHUNK_FRAMES + 100, dim, 60)
    results = [fit_kmeans(points_ND, k, seed=0, iterations=2, threads=threads) for threads in (1, 2, 3)]
    assert len({centroids_KD.tobytes() for centroids_KD in results}) == 1


def test_half_precision_counts_as_its_values_do() -> None:
    points_ND = blobs(2 * CHUNK_FRAMES, 8, 60).astype(np.float16)
    half, single = (fit_kmeans(points_ND.astype(kind), 30, seed=0, iterations=5) for kind in (np.float16, np.float32))
    assert half.dtype == np.float32
    assert np.array_equal(half, single)


@pytest.mark.slow
def test_memory_stays_far_below_a_copy() -> None:
    points_ND = np.resize(blobs(30_000, 64, 20).astype(np.float16), (600_000, 64))
    tracemalloc.start()
    try:
        fit_kmeans(points_ND, 10, seed=0, iterations=2, threads=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.6 * points_ND.nbytes  # in float32 they take twice their bytes


def test_seed_counts() -> None:
    points_ND = blobs(2000, 8, 60)
    one, other = (fit_kmeans(points_ND, 30, seed=seed, iterations=5) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_as_good_as_scikit_learn() -> None:
    points_ND, held_out_ND = np.split(blobs(8000, 20, 200), 2)
    ours = inertia(held_out_ND, fit_kmeans(points_ND, 100, seed=0, iterations=20))
    model = KMeans(100, n_init=1, max_iter=20, random_state=0).fit(points_ND)
    assert ours <= 1.02 * inertia(held_out_ND, model.cluster_centers_)


def test_all_frames_count() -> None:
    points_ND = blobs(100_000, 4, 1)  # every fourth is a subset
    points_ND[::2] += 100
    centroids_KD = fit_kmeans(points_ND, 2, seed=0, iterations=5)
    means_KD = np.stack([points_ND[1::2].mean(0, dtype=np.float64), points_ND[::2].mean(0, dtype=np.float64)])
    assert np.allclose(centroids_KD[centroids_KD[:, 0].argsort()], means_KD, rtol=1e-6)


@pytest.mark.parametrize("k", [2, 50, 199, 200])
def test_no_empty_and_no_double_clusters(k: int) -> None:
    points_ND = np.repeat(blobs(200, 6, 200), 5, axis=0)
    points_ND = np.concatenate([points_ND, np.repeat(points_ND[:1], 2000, axis=0)])  # as digital silence does
    centroids_KD = fit_kmeans(points_ND, k, seed=0, iterations=10)
    assert centroids_KD.shape == (k, 6)
    assert len(np.unique(centroids_KD, axis=0)) == k
    assert used(points_ND, centroids_KD) == k


def test_equal_frames_are_their_centroid() -> None:
    silence_ND = np.full((3 * CHUNK_FRAMES, 4), 0.1, np.float32)
    centroids_KD = fit_kmeans(np.concatenate([silence_ND, 10 + blobs(500, 4, 5)]), 6, seed=0, iterations=10)
    assert (centroids_KD == np.float32(0.1)).all(1).sum() == 1


def test_as_many_clusters_as_frames() -> None:
    points_ND = blobs(64, 16, 64)
    centroids_KD = fit_kmeans(points_ND, 64, seed=0, iterations=3)
    assert {row.tobytes() for row in centroids_KD} == {row.tobytes() for row in points_ND}


def test_user_errors() -> None:
    points_ND = blobs(50, 4, 3)
    with pytest.raises(UnitlangError, match="50 frames cannot make k = 51"):
        fit_kmeans(points_ND, 51, seed=0, iterations=1)
    with pytest.raises(UnitlangError, match="only 3 different frames for k = 5"):
        fit_kmeans(np.repeat(points_ND[:3], 10, axis=0), 5, seed=0, iterations=3)
    for k in (1, 20_001):
        with pytest.raises(UnitlangError, match=r"within 2\.\.20000"):
            fit_kmeans(points_ND, k, seed=0, iterations=1)
    with pytest.raises(UnitlangError, match="matrix"):
        fit_kmeans(points_ND[0], 2, seed=0, iterations=1)
    points_ND[7, 2] = np.nan
    with pytest.raises(UnitlangError, match="NaN"):
        fit_kmeans(points_ND, 2, seed=0, iterations=1)


def test_real_features(shared_data: Path) -> None:
    features_ND = np.load(shared_data / "units/fairseq_hubert_tests/sample.base.L9.npy").astype(np.float32)
    centroids_KD = fit_kmeans(features_ND, 50, seed=0, iterations=20)
    model = KMeans(50, n_init=1, max_iter=20, random_state=0).fit(features_ND)
    assert inertia(features_ND, centroids_KD) <= 1.02 * inertia(features_ND, model.cluster_centers_)
    assert used(features_ND, centroids_KD) == 50
