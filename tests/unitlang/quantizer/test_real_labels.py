"""A real utterance, its HuBERT-base features and the k = 500 labels that fairseq's own k-means gave them.

The codebook itself is not there: what stands for it are the means of the frames of each label.
"""

# Shapes: T = frames, D = feature dims, K = labels that occur.

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from tests.unitlang.quantizer.test_quantizer import Features
from unitlang.audio.reading import load
from unitlang.frames import HUBERT_GRID
from unitlang.quantizer.kmeans import fit_kmeans
from unitlang.quantizer.quantizer import Quantizer
from unitlang.units import to_frames, to_runs


@dataclass(frozen=True)
class Labelled:
    """Features with labels 0..K-1, in the order of fairseq's."""

    features_TD: np.ndarray
    labels_T: np.ndarray

    def mean(self, label: int, without: int | None = None) -> np.ndarray:
        """The mean of a label's frames, of which one may be left out."""
        frames = [t for t in np.flatnonzero(self.labels_T == label) if t != without]
        return self.features_TD[frames].mean(0)

    def means(self) -> np.ndarray:
        return np.stack([self.mean(label) for label in range(self.labels_T.max() + 1)])


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "units/fairseq_hubert_tests"


@pytest.fixture(scope="module")
def real(folder: Path) -> Labelled:
    labels = (folder / "sample.base.L9.km500.km").read_text().split()
    _, labels_T = np.unique(np.array(labels, int), return_inverse=True)
    return Labelled(np.load(folder / "sample.base.L9.npy"), labels_T)


def assign(features_TD: np.ndarray, centroids_KD: np.ndarray) -> np.ndarray:
    return Quantizer(Features(centroids_KD.shape[1]), centroids_KD, "0").assign(features_TD)


def assign_in_float64(features_TD: np.ndarray, centroids_KD: np.ndarray) -> np.ndarray:
    centroids_KD = centroids_KD.astype(np.float64)
    return np.array([((frame_D.astype(np.float64) - centroids_KD) ** 2).sum(1).argmin() for frame_D in features_TD])


def test_our_frame_grid_is_fairseqs(folder: Path, real: Labelled) -> None:
    frames = HUBERT_GRID.num_frames(len(load(folder / "6313-76958-0021.flac")))
    assert frames == len(real.features_TD) == len(real.labels_T) == 596


def test_rounding_changes_no_unit(real: Labelled) -> None:
    means_KD = real.means()
    np.testing.assert_array_equal(assign(real.features_TD, means_KD), assign_in_float64(real.features_TD, means_KD))


def test_frames_get_their_labels(real: Labelled) -> None:
    """538 of 596 (90.3 %): 233 labels have 2.6 frames each, whose mean is far from a centroid of hours of speech."""
    assert (assign(real.features_TD, real.means()) == real.labels_T).mean() > 0.89


def test_unseen_frames_get_their_labels(real: Labelled) -> None:
    """58 % of these 174 are nearest to the mean of their label's other frames; the commonest label has 2 % of all."""
    all_KD, right = real.means(), list[bool]()
    for t in np.flatnonzero(np.bincount(real.labels_T)[real.labels_T] > 1)[::3]:
        label = real.labels_T[t]
        means_KD = all_KD.copy()
        means_KD[label] = real.mean(label, without=t)
        right.append(assign(real.features_TD[[t]], means_KD)[0] == label)
    assert np.mean(right) > 0.5


def test_our_clusters_are_like_fairseqs(real: Labelled) -> None:
    """The adjusted Rand index is 0.36 to 0.39 by seed, as for scikit-learn's k-means; by chance 0.12 at most."""
    k = real.labels_T.max() + 1
    units_T = assign(real.features_TD, fit_kmeans(real.features_TD, k, seed=0, iterations=20))
    runs = to_runs(real.labels_T)
    order_R = np.random.default_rng(0).permutation(len(runs))  # chance, but with the durations of speech
    shuffled_T = np.repeat(runs.units_R[order_R], runs.durations_R[order_R])
    chance = adjusted_rand_score(real.labels_T, shuffled_T)
    assert adjusted_rand_score(real.labels_T, units_T) > 0.3 > 2 * chance


def test_runs_of_real_labels(real: Labelled) -> None:
    runs = to_runs(real.labels_T)
    changes = int((real.labels_T[1:] != real.labels_T[:-1]).sum())
    assert len(runs) == changes + 1 == 370
    np.testing.assert_array_equal(to_frames(runs), real.labels_T)
