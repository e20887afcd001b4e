"""Compare our k-means with scikit-learn's Lloyd and fairseq's MiniBatchKMeans on held-out speech.

    uv run python benchmarks/kmeans.py                          # MFCC of FOLDER/audio
    uv run python benchmarks/kmeans.py --features hubert        # a layer of a HuBERT-base with random weights
    uv run python benchmarks/kmeans.py --frames 10_000_000      # memory and time alone, synthetic frames

FOLDER (`--data`) has audio_manifest.jsonl and audio/. A recording that it holds in several formats is used once. Every
fifth utterance is held out.

Each line is a method. Its columns: CPU seconds on one thread; their ratio to those of Lloyd with 20 iterations;
held-out squared distance per frame; its difference from that of Lloyd with 20 iterations; centroids without a frame or
equal to another one; centroids without a held-out frame; perplexity of the held-out units. The lines of ours and of
Lloyd with 20 iterations are means over `--seeds`, because held-out distances vary by about 0.2 % with the seed.
fairseq's line takes minutes with MFCC and half an hour with HuBERT; `--skip-fairseq` leaves it out.
"""

# Shapes: N = frames, D = feature dims, K = clusters.
# scikit-learn's annotations reject what its documentation allows: n_init as a number
# pyright: reportArgumentType=false

import argparse
import json
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray
from sklearn.cluster import KMeans, MiniBatchKMeans
from threadpoolctl import threadpool_limits

from unitlang.audio.reading import load
from unitlang.errors import AudioError
from unitlang.features import FeatureExtractor, HubertConfig, MfccConfig
from unitlang.quantizer.kmeans import fit_kmeans

FloatArray = NDArray[np.float32]
Fit = Callable[[FloatArray, int, int], FloatArray]
"""Function of features, k and seed that returns centroids."""

ITERATIONS = 20
HOLD_OUT_EVERY = 5
HUBERT_LAYER = 6
BLOCK = 8_192


@dataclass(frozen=True)
class Result:
    """Cost and quality of one fit; the columns of a line."""

    cpu_seconds: float
    held_out: float
    empty_or_double: float
    unused: float
    perplexity: float


def ours(features_ND: FloatArray, k: int, seed: int) -> FloatArray:
    """Fit with `unitlang`, to features in half precision as in a build."""
    return fit_kmeans(features_ND.astype(np.float16), k, seed=seed, iterations=ITERATIONS, threads=1)


def lloyd_of_20(features_ND: FloatArray, k: int, seed: int) -> FloatArray:
    """Fit with scikit-learn's Lloyd, 20 iterations."""
    return KMeans(k, n_init=1, max_iter=ITERATIONS, tol=0, random_state=seed).fit(features_ND).cluster_centers_


def lloyd_as_it_comes(features_ND: FloatArray, k: int, seed: int) -> FloatArray:
    """Fit with scikit-learn's Lloyd and its default tolerance (1e-4) and limit (300 iterations)."""
    return KMeans(k, n_init=1, random_state=seed).fit(features_ND).cluster_centers_


def fairseq(features_ND: FloatArray, k: int, seed: int) -> FloatArray:
    """Fit with the settings of fairseq's examples/hubert/simple_kmeans/learn_kmeans.py."""
    model = MiniBatchKMeans(
        k,
        init="k-means++",
        max_iter=100,
        batch_size=10_000,
        tol=0.0,
        max_no_improvement=100,
        n_init=20,
        reassignment_ratio=0.0,
        random_state=seed,
        compute_labels=False,
    )
    centroids_KD: Any = model.fit(features_ND).cluster_centers_
    return centroids_KD


def recordings(data: Path) -> Iterator[FloatArray]:
    """Yield the waveforms of the manifest, one of each recording; report unusable files and skip them."""
    seen: set[tuple[Path, str]] = set()
    for line in (data / "audio_manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        path = Path(row["path"])
        # the same text is another recording among the spoken digits, and another format elsewhere
        key = (path, "") if "fsdd" in path.parts else (Path(path.parts[0]), row["text"])
        if key not in seen:
            seen.add(key)
            try:
                yield load(data / "audio" / path)
            except AudioError as error:
                print(f"left out: {path}: {error}")


def extractor_of(kind: str, folder: Path) -> FeatureExtractor:
    """An MFCC extractor, or one of a HuBERT-base with random weights, which is written into the folder."""
    if kind == "mfcc":
        return MfccConfig().load()
    torch.manual_seed(0)
    torch.save(torchaudio.models.hubert_base().state_dict(), folder / "hubert.pt")
    return HubertConfig(checkpoint=str(folder / "hubert.pt"), layer=HUBERT_LAYER).load()


def features_of(kind: str, data: Path) -> tuple[FloatArray, FloatArray]:
    """Features to learn from, and held-out features."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        extractor = extractor_of(kind, Path(folder))
        features = [extractor.extract(waveform_N) for waveform_N in recordings(data)]
    learnt = [part_ND for number, part_ND in enumerate(features) if number % HOLD_OUT_EVERY]
    return np.concatenate(learnt), np.concatenate(features[::HOLD_OUT_EVERY])


def nearest(features_ND: FloatArray, centroids_KD: FloatArray) -> tuple[NDArray[np.int64], float]:
    """Units of N frames, computed in float64, and their mean squared distance to the centroids."""
    centroids_DK = centroids_KD.T.astype(np.float64)
    units: list[NDArray[np.int64]] = []
    total = 0.0
    for first in range(0, len(features_ND), BLOCK):
        block_ND = features_ND[first : first + BLOCK].astype(np.float64)
        scores_NK = (centroids_DK**2).sum(0) - 2 * block_ND @ centroids_DK
        units.append(scores_NK.argmin(1))
        total += float((block_ND**2).sum() + scores_NK.min(1).sum())
    return np.concatenate(units), total / len(features_ND)


def measure(fit: Fit, learnt_ND: FloatArray, held_out_ND: FloatArray, k: int, seed: int) -> Result:
    """Fit once and measure cost and quality.

    Args:
        fit: the method.
        learnt_ND: features to fit to.
        held_out_ND: held-out features.
        k: number of clusters.
        seed: seed of the method.
    """
    with threadpool_limits(1), warnings.catch_warnings(action="ignore"):
        start = time.process_time()
        centroids_KD = np.asarray(fit(learnt_ND, k, seed), np.float32)
        seconds = time.process_time() - start
        learnt_K = np.bincount(nearest(learnt_ND, centroids_KD)[0], minlength=k)
        units_N, held_out = nearest(held_out_ND, centroids_KD)
    held_out_K = np.bincount(units_N, minlength=k)
    doubles = k - len(np.unique(centroids_KD, axis=0))
    shares = held_out_K[held_out_K > 0] / len(units_N)
    perplexity = float(np.exp(-(shares * np.log(shares)).sum()))
    return Result(seconds, held_out, int((learnt_K == 0).sum()) + doubles, int((held_out_K == 0).sum()), perplexity)


def mean(results: list[Result]) -> Result:
    """Mean of each field."""
    return Result(*(float(np.mean([getattr(result, field.name) for result in results])) for field in fields(Result)))


def compare(arguments: argparse.Namespace) -> None:
    """Print a table for each k."""
    learnt_ND, held_out_ND = features_of(arguments.features, arguments.data)
    print(f"{arguments.features}: {len(learnt_ND):,} frames x {learnt_ND.shape[1]}, {len(held_out_ND):,} held out")
    methods: list[tuple[str, Fit, int]] = [
        ("scikit-learn Lloyd, 20 iterations", lloyd_of_20, arguments.seeds),
        ("ours", ours, arguments.seeds),
        ("scikit-learn Lloyd, default tol", lloyd_as_it_comes, 1),
    ]
    if not arguments.skip_fairseq:
        methods.append(("fairseq's MiniBatchKMeans", fairseq, 1))
    for k in arguments.k:
        print(f"\n{f'k = {k}':34}   CPU s  ratio  held out  vs Lloyd  empty/double  unused  perplexity")
        lloyd: Result | None = None
        for name, fit, seeds in methods:
            result = mean([measure(fit, learnt_ND, held_out_ND, k, seed) for seed in range(seeds)])
            lloyd = lloyd or result
            print(row(name, result, lloyd), flush=True)


def row(name: str, result: Result, lloyd: Result) -> str:
    """One line of a table."""
    return (
        f"{name:34} {result.cpu_seconds:7.1f} {result.cpu_seconds / lloyd.cpu_seconds:6.2f} {result.held_out:9.2f} "
        f"{100 * (result.held_out / lloyd.held_out - 1):+8.2f} % {result.empty_or_double:12.1f} {result.unused:7.1f} "
        f"{result.perplexity:11.0f}"
    )


def memory(frames: int, dim: int, k: int) -> None:
    """Print time and memory of a fit to synthetic frames in half precision, on all cores."""
    generator = np.random.default_rng(0)
    centers_KD = generator.normal(size=(2 * k, dim)).astype(np.float32)
    sample_ND = np.empty((frames, dim), np.float16)
    for first in range(0, frames, BLOCK):
        part_ND = sample_ND[first : first + BLOCK]
        noise_ND = generator.standard_normal(part_ND.shape, np.float32)
        part_ND[:] = centers_KD[generator.integers(2 * k, size=len(part_ND))] + noise_ND
    before, cpu, wall = peak_gb(), time.process_time(), time.perf_counter()
    fit_kmeans(sample_ND, k, seed=0, iterations=ITERATIONS)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(
        f"{frames:,} frames x {dim}, k = {k}: sample {sample_ND.nbytes / 1e9:.2f} GB, process before {before:.2f} GB, "
        f"at most {peak_gb():.2f} GB; CPU {cpu:.0f} s, wall {wall:.0f} s"
    )


def peak_gb() -> float:
    """Peak memory of this process so far, in 10^9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Parse the arguments and print the tables."""
    default_data = Path(__file__).parents[2] / "shared" / "data"
    options: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(description=__doc__, **options)
    parser.add_argument("--data", type=Path, default=default_data)
    parser.add_argument("--features", choices=("mfcc", "hubert"), default="mfcc")
    parser.add_argument("--k", type=int, nargs="+", default=[500, 1000])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--skip-fairseq", action="store_true")
    parser.add_argument("--frames", type=int, help="measure only time and memory, with this number of synthetic frames")
    parser.add_argument("--dim", type=int, default=39, help="dimensions of the synthetic frames")
    arguments = parser.parse_args()
    if arguments.frames is None:
        compare(arguments)
    else:
        memory(arguments.frames, arguments.dim, arguments.k[0])


if __name__ == "__main__":
    main()
