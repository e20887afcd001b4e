"""The start of k-means: as good as scikit-learn's greedy k-means++."""

import numpy as np
from sklearn.cluster import kmeans_plusplus

from tests.unitlang.quantizer.test_kmeans import blobs, inertia
from unitlang.quantizer.chunks import start_workers
from unitlang.quantizer.kmeans_start import start


def start_on_one_thread(points_ND: np.ndarray, k: int, seed: int) -> np.ndarray:
    with start_workers(1) as workers:
        return start(points_ND, k, seed, workers)


def test_as_good_as_scikit_learn() -> None:
    points_ND = blobs(3000, 8, 300)
    ours = [inertia(points_ND, start_on_one_thread(points_ND, 200, seed)) for seed in range(5)]
    theirs = [inertia(points_ND, kmeans_plusplus(points_ND, 200, random_state=seed)[0]) for seed in range(5)]
    assert np.mean(ours) <= 1.03 * np.mean(theirs)


def test_chooses_different_frames() -> None:
    points_ND = blobs(1000, 8, 10)
    chosen_KD = start_on_one_thread(points_ND, 600, 0)
    assert len(np.unique(chosen_KD, axis=0)) == 600
    assert {row.tobytes() for row in chosen_KD} <= {row.tobytes() for row in points_ND}


def test_finds_every_cluster_far_from_the_origin() -> None:
    centers_KD = 100 * np.eye(50, dtype=np.float32)
    points_ND = 1e4 + np.repeat(centers_KD, 20, axis=0) + blobs(1000, 50, 1)
    chosen_KD = start_on_one_thread(points_ND.astype(np.float32), 50, 0)
    assert len(set((chosen_KD - 1e4).argmax(1))) == 50


def test_equal_frames_end() -> None:
    assert start_on_one_thread(np.ones((100, 4), np.float32), 5, 0).shape == (5, 4)
