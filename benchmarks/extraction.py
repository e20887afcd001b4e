"""Compare methods of extracting HuBERT features: their speed, and the share of units that they change.

    python benchmarks/extraction.py [--seconds 60] [--layer 9] [--data FOLDER] [--rounds 3] [--bf16]

The model is a HuBERT-base with random weights on one thread. The input is speech of FOLDER (default: ECHOX_TEST_DATA),
or else noise, cut into utterances of 2 to 20 s. Times are CPU seconds, the best of several rounds in which the methods
alternate: ratios within the table are valid on a busy machine, speeds only on a quiet one. "of GEMM peak" is the number
of operations per second of the layers up to the wanted one, by the direct formulas, divided by the rate of the fastest
float32 matrix product of the run. It is not a utilisation: methods that compute further layers have a lower value,
methods with faster algorithms (ours: convolutions by Winograd, positions by FFT) a higher one. Units are those of
k-means on the features of the reference. Because the weights are random, shares of changed units rank the methods but
do not predict those of a trained model.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits
from transformers import HubertConfig as HuggingFaceConfig
from transformers import HubertModel

from unitlang.audio.reading import load
from unitlang.features import HubertConfig, HubertExtractor
from unitlang.features.hubert import resolve_precision
from unitlang.features.hubert_parts.checkpoints import load_hubert
from unitlang.frames import HUBERT_GRID, SAMPLE_RATE
from unitlang.quantizer.kmeans import fit_kmeans
from unitlang.quantizer.quantizer import Quantizer

FloatArray = NDArray[np.float32]
Way = Callable[[list[FloatArray]], list[FloatArray]]

CLUSTERS = 500
CONVOLUTION_GFLOP = 4.9
LAYER_GFLOP = 0.71
OTHER_GFLOP = 0.51
"""GFLOP of HuBERT-base per second of audio, at 10 s: convolutions; a layer with attention; projection and positions."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="audio in all")
    parser.add_argument("--layer", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="bf16 too where this machine has no units for it: minutes")
    parser.add_argument("--data", type=Path, default=os.environ.get("ECHOX_TEST_DATA"), help="folder of speech")
    options = parser.parse_args()
    torch.set_num_threads(1)
    waveforms = list(utterances(options.seconds, options.data))
    with threadpool_limits(1), TemporaryDirectory() as folder:
        ways = make_ways(Path(folder), options.layer, options.bf16)
        features, seconds = measure(ways, waveforms, options.rounds)
        print_table(ways, waveforms, features, seconds, options.layer, Path(folder))


def utterances(seconds: float, data: Path | None) -> Iterator[FloatArray]:
    """Yield waveforms of 2 to 20 s, `seconds` in total."""
    rng = np.random.default_rng(0)
    speech_N = np.concatenate(list(speech(seconds, data)))[: int(seconds * SAMPLE_RATE)]
    while len(speech_N):
        samples = int(rng.uniform(2, 20) * SAMPLE_RATE)
        yield speech_N[:samples]
        speech_N = speech_N[samples:]


def speech(seconds: float, data: Path | None) -> Iterator[FloatArray]:
    """Yield waveforms of at least `seconds` in total: speech of `data`, then noise if that is too short."""
    lines = (data / "audio_manifest.jsonl").read_text().splitlines() if data else []
    held = 0
    for clip in map(json.loads, lines):
        waveform_N = load(Path(str(data), "audio", clip["path"]))
        yield waveform_N
        held += len(waveform_N)
        if held >= seconds * SAMPLE_RATE:
            return
    yield (0.1 * np.random.default_rng(0).normal(size=int(seconds * SAMPLE_RATE))).astype(np.float32)


def make_ways(folder: Path, layer: int, bf16: bool) -> dict[str, Way]:
    """The methods to compare, by name; all have the same weights."""
    torch.manual_seed(0)
    hugging_face = HubertModel(HuggingFaceConfig()).eval()
    hugging_face.save_pretrained(folder / "model")
    fairseq_like = load_hubert(str(folder / "model"), 12)[0]
    del hugging_face.encoder.layers[layer:]
    ways: dict[str, Way] = {
        "fairseq's: 12 layers, one by one": lambda waves: torchaudio_way(fairseq_like, waves, layer),
        "transformers, stopped": lambda waves: transformers_way(hugging_face, waves),
        "transformers, padded batches": lambda waves: transformers_batches(hugging_face, waves),
    }
    bf16 = bf16 or resolve_precision(HubertConfig(checkpoint="", layer=1, precision="auto"))[0].precision == "bf16"
    for precision in ("fp32", "bf16") if bf16 else ("fp32",):
        config = HubertConfig(checkpoint=str(folder / "model"), layer=layer, precision=precision)
        ways[f"echox, {precision}"] = our_way(HubertExtractor(config))
    return ways


def torchaudio_way(model: Any, waveforms: list[FloatArray], layer: int) -> list[FloatArray]:
    """Extract as fairseq's dump_hubert_feature.py does; the layers after the wanted one are computed too."""
    with torch.inference_mode():
        return [model.extract_features(torch.from_numpy(w)[None])[0][layer - 1][0].numpy() for w in waveforms]


def transformers_way(model: HubertModel, waveforms: list[FloatArray]) -> list[FloatArray]:
    """Extract one utterance at a time with a model that ends after the wanted layer."""
    with torch.inference_mode():
        return [model(torch.from_numpy(w)[None]).last_hidden_state[0].numpy() for w in waveforms]


def transformers_batches(model: HubertModel, waveforms: list[FloatArray]) -> list[FloatArray]:
    """Extract four utterances at a time, padded, with an attention mask."""
    features: list[FloatArray] = []
    for start in range(0, len(waveforms), 4):
        part = [torch.from_numpy(waveform_N) for waveform_N in waveforms[start : start + 4]]
        waveform_BN = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
        mask_BN = torch.nn.utils.rnn.pad_sequence([torch.ones(len(w)) for w in part], batch_first=True).long()
        with torch.inference_mode():
            states_BTD = model(waveform_BN, attention_mask=mask_BN).last_hidden_state
        lengths = [HUBERT_GRID.num_frames(len(waveform_N)) for waveform_N in part]
        features += [state_TD[:length].numpy() for state_TD, length in zip(states_BTD, lengths, strict=True)]
    return features


def our_way(extractor: HubertExtractor) -> Way:
    """Extract in packed batches."""

    def extract(waveforms: list[FloatArray]) -> list[FloatArray]:
        found = dict(extractor.stream_many((number, [wave]) for number, wave in enumerate(waveforms)))
        return [found[number].numpy() for number in range(len(waveforms))]

    return extract


def measure(
    ways: dict[str, Way], waveforms: list[FloatArray], rounds: int
) -> tuple[dict[str, list[FloatArray]], dict[str, float]]:
    """Features of each method, and its CPU seconds in the best round."""
    features = {name: way(waveforms[:1]) for name, way in ways.items()}  # warm
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            features[name] = way(waveforms)
            best[name] = min(best.get(name, np.inf), time.process_time() - start)
    return features, best


def gemm_peaks() -> dict[str, float]:
    """GFLOP/s of the fastest of 100 float32 matrix products on one thread, by library."""
    a, b = torch.randn(512, 768), torch.randn(768, 768)
    ways = {"torch": lambda: torch.mm(a, b), "numpy": lambda: np.matmul(a.numpy(), b.numpy())}
    best = dict.fromkeys(ways, np.inf)
    for name, way in 100 * list(ways.items()):
        start = time.perf_counter()
        way()
        best[name] = min(best[name], time.perf_counter() - start)
    return {name: 2 * 512 * 768 * 768 / seconds / 1e9 for name, seconds in best.items()}


def print_table(
    ways: dict[str, Way],
    waveforms: list[FloatArray],
    features: dict[str, list[FloatArray]],
    cpu_seconds: dict[str, float],
    layer: int,
    folder: Path,
) -> None:
    """Print the table and the conditions of the measurement.

    Args:
        ways: the methods by name; the first is the reference.
        waveforms: the utterances.
        features: features of each utterance by method.
        cpu_seconds: CPU seconds by method.
        layer: the extracted layer.
        folder: folder of the model.
    """
    seconds = sum(map(len, waveforms)) / SAMPLE_RATE
    peaks = gemm_peaks()
    peak, gflop = max(peaks.values()), CONVOLUTION_GFLOP + OTHER_GFLOP + layer * LAYER_GFLOP
    reference, stopped, *_ = ways
    reference_TD = np.concatenate(features[reference])
    extractor = HubertExtractor(HubertConfig(checkpoint=str(folder / "model"), layer=1))
    quantizer = Quantizer(extractor, fit_kmeans(reference_TD, CLUSTERS, seed=0, iterations=5), "benchmark")
    units_T = quantizer.assign(reference_TD)
    table = Table("way", *("audio s/CPU s", "fairseq's", "transformers", "of GEMM peak", "error", "units changed"))
    for name in ways:
        found_TD = np.concatenate(features[name])
        speed = seconds / cpu_seconds[name]
        error = np.linalg.norm(found_TD - reference_TD) / np.linalg.norm(reference_TD)
        changed = (quantizer.assign(found_TD) != units_T).mean()
        table.add_row(
            name,
            f"{speed:.2f}",
            f"{cpu_seconds[reference] / cpu_seconds[name]:.2f}x",
            f"{cpu_seconds[stopped] / cpu_seconds[name]:.2f}x",
            f"{speed * gflop / peak:.0%}",
            f"{error:.1e}",
            f"{changed:.3%}",
        )
    console = Console(width=120)
    console.print(table)
    _, reason = resolve_precision(HubertConfig(checkpoint="", layer=1, precision="auto"))
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in peaks.items())
    console.print(
        f"{len(waveforms)} utterances, {seconds:.0f} s, layer {layer}, k = {CLUSTERS}; GEMM peak {rates} GFLOP/s, "
        f"{gflop:.1f} GFLOP per second of audio; torch {torch.__version__}, one thread. bf16: {reason}."
    )


if __name__ == "__main__":
    main()
