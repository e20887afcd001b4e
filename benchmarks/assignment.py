"""Measure the assignment of units: frames per CPU second of one core, and the share of units that differ from float64.

    uv run python benchmarks/assignment.py [--data FOLDER] [--frames N]

768 dims: the first k of 1,000 published mHuBERT centroids, and HuBERT features repeated with noise of a tenth of their
standard deviation; FOLDER has units/. 39 dims: both drawn from a normal distribution, once around 0 and once around 50,
as features are whose mean is large beside their spread (the first of MFCC). Rates are frames per second of CPU time on
one thread, the best of three. Ratios compare with `Quantizer.assign`, which must give a frame the same unit
whatever the other frames are. The other methods need not: FAISS rounds differently for other numbers of frames.
"""

# Shapes: T = frames, D = feature dims, K = clusters.
# scikit-learn's annotations reject what its documentation allows: n_init as a number, init as an array
# pyright: reportArgumentType=false

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from unitlang.features import FeatureExtractor
from unitlang.quantizer.quantizer import Quantizer, one_thread

FloatArray = NDArray[np.floating[Any]]
UnitArray = NDArray[Any]
Assign = Callable[[FloatArray], UnitArray]

REPEATS = 3
KS = (100, 500, 1_000)
BLOCKS = (256, 512, 20_000)


class Dims:
    """Substitute for an extractor where only its `dim` is used."""

    def __init__(self, dim: int) -> None:
        self.dim = dim


def in_blocks(assign: Assign, size: int) -> Assign:
    """Apply an assignment to blocks of `size` frames."""
    return lambda features_TD: np.concatenate(
        [assign(features_TD[first : first + size]) for first in range(0, len(features_TD), size)]
    )


def by_faiss(centroids_KD: FloatArray) -> Assign:
    """Assignment by exhaustive search with FAISS."""
    index = faiss.IndexFlatL2(centroids_KD.shape[1])
    index.add(centroids_KD)
    return lambda features_TD: index.search(features_TD, 1)[1][:, 0]


def by_faiss_products(centroids_KD: FloatArray) -> Assign:
    """`by_faiss` by |x|^2 - 2 x c + |c|^2, which FAISS leaves to larger searches: below 128,000 values it subtracts."""
    search = by_faiss(centroids_KD)

    def assign(features_TD: FloatArray) -> UnitArray:
        usual = faiss.cvar.distance_compute_blas_threshold
        faiss.cvar.distance_compute_blas_threshold = 0
        try:
            return search(features_TD)
        finally:
            faiss.cvar.distance_compute_blas_threshold = usual

    return assign


def by_numpy(centroids_KD: FloatArray) -> Assign:
    """Assignment by the argmin of |c|^2 - 2 x c."""
    squares_K, factors_DK = (centroids_KD**2).sum(1), -2 * centroids_KD.T
    return lambda features_TD: (features_TD @ factors_DK + squares_K).argmin(1)


def by_numpy_in_place(centroids_KD: FloatArray, size: int) -> Assign:
    """`by_numpy` in blocks of `size` frames, with one array for the scores of all blocks."""
    squares_K, factors_DK = (centroids_KD**2).sum(1), -2 * centroids_KD.T
    scores_TK = np.empty((size, len(centroids_KD)), np.float32)

    def assign(features_TD: FloatArray) -> UnitArray:
        part_TK = np.matmul(features_TD, factors_DK, out=scores_TK[: len(features_TD)])
        part_TK += squares_K
        return part_TK.argmin(1)

    return in_blocks(assign, size)


def by_torch(centroids_KD: FloatArray) -> Assign:
    """Assignment by fairseq's formula, the argmin of |x|^2 - 2 x c + |c|^2."""
    centroids_DK = torch.from_numpy(centroids_KD).T.contiguous()
    squares_1K = (centroids_DK**2).sum(0, keepdim=True)

    def assign(features_TD: FloatArray) -> UnitArray:
        tensor_TD = torch.from_numpy(features_TD)
        distances_TK = (tensor_TD**2).sum(1, keepdim=True) - 2 * tensor_TD @ centroids_DK + squares_1K
        return distances_TK.argmin(1).numpy()

    return assign


def by_scikit_learn(centroids_KD: FloatArray) -> Assign:
    """Assignment by `KMeans.predict`."""
    model = KMeans(len(centroids_KD), init=centroids_KD, n_init=1, max_iter=1).fit(centroids_KD)
    model.cluster_centers_ = centroids_KD
    predict: Any = model.predict
    return predict


def methods(centroids_KD: FloatArray) -> Iterator[tuple[str, Assign]]:
    """Yield name and function of each method."""
    extractor = cast("FeatureExtractor", Dims(centroids_KD.shape[1]))
    yield "Quantizer.assign", Quantizer(extractor, centroids_KD, "benchmark").assign
    for size in BLOCKS:
        yield f"FAISS, {size:,} at a time", in_blocks(by_faiss(centroids_KD), size)
    yield f"FAISS, products, {BLOCKS[0]} at a time", in_blocks(by_faiss_products(centroids_KD), BLOCKS[0])
    for size in BLOCKS:
        yield f"numpy, {size:,} at a time", in_blocks(by_numpy(centroids_KD), size)
    for size in BLOCKS[:2]:
        yield f"numpy in place, {size:,} at a time", by_numpy_in_place(centroids_KD, size)
    for size in BLOCKS:
        yield f"torch, {size:,} at a time", in_blocks(by_torch(centroids_KD), size)
    yield "scikit-learn", by_scikit_learn(centroids_KD)


def exact(features_TD: FloatArray, centroids_KD: FloatArray) -> UnitArray:
    """Units in float64."""
    return by_numpy(centroids_KD.astype(np.float64))(features_TD.astype(np.float64))


def real(data: Path, frames: int) -> tuple[FloatArray, FloatArray]:
    """Features and centroids of published models, from files in `data`."""
    features_TD = np.load(data / "units/fairseq_hubert_tests/sample.base.L9.npy").astype(np.float32)
    generator = np.random.default_rng(0)
    many_TD = np.resize(features_TD, (frames, features_TD.shape[1]))
    many_TD += 0.1 * features_TD.std() * generator.standard_normal(many_TD.shape, np.float32)
    centroids_KD = np.load(data / "units/streamspeech/mhubert_km1000_layer11_centroids.npy").astype(np.float32)
    return many_TD, centroids_KD


def drawn(dim: int, frames: int, mean: float) -> tuple[FloatArray, FloatArray]:
    """Features and centroids drawn from a normal distribution around a mean."""
    generator = np.random.default_rng(0)
    features_TD = generator.standard_normal((frames, dim), np.float32)
    return features_TD + np.float32(mean), generator.standard_normal((KS[-1], dim), np.float32) + np.float32(mean)


def cpu_seconds(assign: Assign, features_TD: FloatArray) -> float:
    """CPU seconds of the fastest of `REPEATS` calls."""
    seconds: list[float] = []
    for _ in range(REPEATS):
        start = time.process_time()
        assign(features_TD)
        seconds.append(time.process_time() - start)
    return min(seconds)


def table(features_TD: FloatArray, centroids_KD: FloatArray) -> None:
    """Print the rates for one k."""
    exact_T = exact(features_TD, centroids_KD)
    case = f"{features_TD.shape[1]} dims, mean {round(float(features_TD.mean()))}, k = {len(centroids_KD)}"
    print(f"\n{case:34} thousand frames/s  ratio  other units, %")
    ours = 0.0
    for name, assign in methods(centroids_KD):
        rate = len(features_TD) / cpu_seconds(assign, features_TD) / 1e3
        ours = ours or rate
        wrong = 100 * np.mean(assign(features_TD) != exact_T)
        print(f"{name:34} {rate:17.1f} {rate / ours:6.2f} {wrong:15.4f}", flush=True)


def main() -> None:
    """Parse the arguments and print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--frames", type=int, default=20_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cases = [real(arguments.data, arguments.frames), *(drawn(39, arguments.frames, mean) for mean in (0, 50))]
    with threadpool_limits(1), one_thread():
        for features_TD, centroids_KD in cases:
            for k in KS:
                table(features_TD, centroids_KD[:k].copy())


if __name__ == "__main__":
    main()
