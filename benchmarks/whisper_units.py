"""Units of a real Whisper encoder: what they cost, what they depend on, and how much they tell of phones.

    python benchmarks/whisper_units.py {corpus,padding,context} [--phones phones.jsonl] [--layer 3] [--data FOLDER]

The real `whisper-tiny.en` and the English prompts of FOLDER (default: ECHOX_TEST_DATA, else ../shared/data).

`corpus`: the prompts are built into a corpus three times: one worker, two workers on Ray, and work units of another
size; the units must be equal. A corpus of MFCC units is for comparison. CPU seconds are those of the work units of
`quantize` (decode, features, assignment).
`padding`: features of every second clip as they are, after 0.5 s and 1 s of silence at the end, and padded to 30 s; by
layer, and with the encoder's final norm after the last one.
`context`: the clips one after another as one recording; units that change when its windows overlap less.

PNMI (arXiv 2106.07447, sec. V-D) is the mutual information of units and phones over the entropy of the phones, over
frames; `--phones` is what `phone_labels.py` writes. A frame's phone is that at its centre: sample 320 t for Whisper,
whose log-mel frames are centred, 320 t + 200 for MFCC.
"""

import argparse
import csv
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from build import build
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from transformers import WhisperModel

from pipelines.build.statistics import from_version, overall
from pipelines.config.build import check_config
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version
from unitlang.audio.reading import load
from unitlang.features.whisper import WhisperConfig
from unitlang.frames import SAMPLE_RATE
from unitlang.quantizer.kmeans import fit_kmeans

DATA = Path(__file__).parents[2] / "shared" / "data"
CLUSTERS = 200
CENTRES = {"whisper": 0, "mfcc": 200}
"""Sample at the centre of the first frame."""
WINDOW_SECONDS = 30
CONTEXTS = (14.0, 10.0, 5.0, 2.0, 1.0, 0.0)
SILENCES = {"as it is": 0.0, "+ 0.5 s": 0.5, "+ 1 s": 1.0, "to 30 s": 30.0}
SEEDS = 3

FloatArray = NDArray[np.float32]
Phones = dict[str, NDArray[np.str_]]
"""The phone of each 10 ms of a clip, by the clip's path."""


def main() -> None:
    """Measure one part and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("corpus", "padding", "context"))
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--phones", type=Path, help="labels that phone_labels.py wrote")
    parser.add_argument("--data", type=Path, default=os.environ.get("ECHOX_TEST_DATA", DATA))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = Path(options.data).resolve()
    config = WhisperConfig(checkpoint=str(data / "models/whisper-tiny.en"), layer=options.layer)
    phones = read_phones(options.phones) if options.phones else {}
    if options.part == "corpus":
        corpus(config, data / "prompts", phones)
    elif options.part == "padding":
        padding(config, data / "prompts", phones)
    else:
        context(config, data / "prompts")


def read_phones(path: Path) -> Phones:
    """Labels by clip; what no phone covers is silence."""
    phones: Phones = {}
    for clip in map(json.loads, path.read_text().splitlines()):
        end = max(start + frames for _, start, frames in clip["phones"])
        labels = np.full(end, "SIL", dtype="<U8")
        for name, start, frames in clip["phones"]:
            labels[start : start + frames] = name
        phones[clip["audio"]] = labels
    return phones


def labels_of(labels: NDArray[np.str_], frames: int, centre: int) -> NDArray[np.str_]:
    """The phone at the centre of each of so many frames of 20 ms."""
    at_T = (320 * np.arange(frames) + centre) // 160
    return np.where(at_T < len(labels), labels[np.minimum(at_T, len(labels) - 1)], "SIL")


def pnmi(units_T: NDArray[np.integer], phones_T: NDArray[np.str_]) -> float:
    """Mutual information of units and phones over the entropy of the phones."""
    names, index_T = np.unique(phones_T, return_inverse=True)
    joint_KP = np.zeros((int(units_T.max()) + 1, len(names)))
    np.add.at(joint_KP, (units_T, index_T), 1 / len(units_T))
    units_K, phones_P = joint_KP.sum(1), joint_KP.sum(0)
    both = joint_KP > 0
    information = (joint_KP[both] * np.log(joint_KP[both] / np.outer(units_K, phones_P)[both])).sum()
    return float(information / -(phones_P * np.log(phones_P)).sum())


def corpus(config: WhisperConfig, prompts: Path, phones: Phones) -> None:
    """Build the corpora and compare them."""
    ways: dict[str, tuple[dict[str, Any], float, int]] = {
        "whisper, 1 worker": (config.model_dump(), 2.0, 1),
        "whisper, 2 workers": (config.model_dump(), 2.0, 2),
        "whisper, work units of 7 min": (config.model_dump(), 7.0, 1),
        "mfcc": ({"kind": "mfcc"}, 2.0, 1),
    }
    table = Table("corpus", "CPU s / h", "frames/s", "runs/s", "words/s", "frames/word", "PNMI", "units")
    first: dict[str, NDArray[np.integer]] = {}
    for name, (features, minutes, workers) in ways.items():
        with TemporaryDirectory() as folder:
            version, cpu_seconds = build_corpus(Path(folder, "store"), prompts, features, minutes, workers)
            units = read_units(version)
        first = first or units
        same = all(np.array_equal(units[key], first[key]) for key in first)
        found = overall(from_version(version.statistics))
        stats, hours = found.compression, found.samples / SAMPLE_RATE / 3600
        table.add_row(
            name,
            f"{cpu_seconds / hours:.0f}",
            *(f"{rate:.1f}" for rate in (stats.frames_per_second, stats.runs_per_second, stats.words_per_second)),
            f"{stats.total_ratio:.2f}",
            f"{corpus_pnmi(units, phones, CENTRES[features['kind']]):.3f}" if phones else "",
            "equal" if same else "other",
        )
    console = Console(width=140)
    console.print(table)
    console.print(f"layer {config.layer}, k = {CLUSTERS}, {len(first)} clips, {len(phones)} with phone labels")


def build_corpus(
    store: Path, prompts: Path, features: dict[str, Any], minutes: float, workers: int
) -> tuple[Version, float]:
    """The corpus, and the CPU seconds of `quantize`; one worker is this process."""
    values = {
        "store": str(store),
        "sources": [{"kind": "manifest", "path": str(prompts / "en.tsv"), "dataset": "prompts"}],
        "features": features,
        "quantizer": {"k": CLUSTERS},
        "unit_language": {"vocab_size": 1000},
        "work_units": {"minutes": minutes},
        "run": {"workers": workers, "ray_above_seconds": 1e6 if workers == 1 else 0.0},
    }
    version, parts = build(check_config(values, "benchmark", prompts), Console(quiet=True))
    return version, next(part.cpu for part in parts if part.name == "quantize")


def read_units(version: Version) -> dict[str, NDArray[np.integer]]:
    """The unit of each frame, by utterance."""
    store = Store.open(version.store)
    rows = [row for file in version.files("units") for row in read_table(store, file.path).to_pylist()]
    names = [row["utterance_id"].removeprefix("prompts/").partition("#")[0] for row in rows]
    return {name: np.repeat(row["units"], row["durations"]) for name, row in zip(names, rows, strict=True)}


def corpus_pnmi(units: dict[str, NDArray[np.integer]], phones: Phones, centre: int) -> float:
    """PNMI over the clips that have labels."""
    clips = [clip for clip in phones if clip in units]
    phones_T = [labels_of(phones[clip], len(units[clip]), centre) for clip in clips]
    return pnmi(np.concatenate([units[clip] for clip in clips]), np.concatenate(phones_T))


def padding(config: WhisperConfig, prompts: Path, phones: Phones) -> None:
    """Compare features of clips as they are with those that see silence at the end."""
    clips = sorted(phones)[::2]
    waveforms = [load(prompts / clip) for clip in clips]
    hours = sum(map(len, waveforms)) / SAMPLE_RATE / 3600
    frames = [len(waveform_N) // 320 for waveform_N in waveforms]
    each = zip(clips, frames, strict=True)
    phones_T = np.concatenate([labels_of(phones[clip], count, CENTRES["whisper"]) for clip, count in each])
    table = Table("padding", "layer", "CPU s / h", f"PNMI, mean of {SEEDS} seeds")
    for name, seconds in SILENCES.items():
        for layer, cpu_seconds, features_TD in padded(config, waveforms, frames, seconds):
            table.add_row(name, layer, f"{cpu_seconds / hours:.0f}", f"{mean_pnmi(features_TD, phones_T):.3f}")
    Console().print(table)
    Console().print(f"{len(clips)} clips, {60 * hours:.1f} min, k = {CLUSTERS}, one thread")


def padded(
    config: WhisperConfig, waveforms: list[FloatArray], frames: list[int], seconds: float
) -> Iterator[tuple[str, float, FloatArray]]:
    """Layer, CPU seconds and features_TD of the frames of speech; without silence also of the last layer."""
    cpu_seconds, features_TD = speech_features(config, waveforms, frames, seconds)
    yield str(config.layer), cpu_seconds, features_TD
    if seconds == 0.0:
        last: int = WhisperModel.from_pretrained(config.checkpoint, local_files_only=True).config.encoder_layers
        last_config = config.model_copy(update={"layer": last})
        cpu_seconds, features_TD = speech_features(last_config, waveforms, frames, seconds)
        yield str(last), cpu_seconds, features_TD
        yield f"{last} + norm", cpu_seconds, normed(config, features_TD)


def speech_features(
    config: WhisperConfig, waveforms: list[FloatArray], frames: list[int], seconds: float
) -> tuple[float, FloatArray]:
    """CPU seconds, and features_TD of so many frames of each clip with seconds of silence at its end."""
    extractor = config.load()
    began = time.process_time()
    parts: list[FloatArray] = []
    for waveform_N, count in zip(waveforms, frames, strict=True):
        samples = min(len(waveform_N) + int(seconds * SAMPLE_RATE), WINDOW_SECONDS * SAMPLE_RATE)
        parts.append(extractor.extract(np.pad(waveform_N, (0, samples - len(waveform_N))))[:count])
    return time.process_time() - began, np.concatenate(parts)


def normed(config: WhisperConfig, features_TD: FloatArray) -> FloatArray:
    """Features of the last layer after the encoder's final norm."""
    model = WhisperModel.from_pretrained(config.checkpoint, dtype=torch.float32, local_files_only=True)
    with torch.inference_mode():
        return model.encoder.layer_norm(torch.from_numpy(features_TD)).numpy()


def mean_pnmi(features_TD: FloatArray, phones_T: NDArray[np.str_]) -> float:
    """PNMI of k-means units of the features, over some seeds."""
    found: list[float] = []
    for seed in range(SEEDS):
        centroids_KD = fit_kmeans(features_TD, CLUSTERS, seed=seed, iterations=20)
        found.append(pnmi(nearest(features_TD, centroids_KD), phones_T))
    return float(np.mean(found))


def nearest(features_TD: FloatArray, centroids_KD: FloatArray) -> NDArray[np.integer]:
    """The unit of each frame."""
    return ((centroids_KD**2).sum(1) - 2 * features_TD @ centroids_KD.T).argmin(1)


def context(config: WhisperConfig, prompts: Path) -> None:
    """Compare overlaps on one long recording."""
    with (prompts / "en.tsv").open() as file:
        clips = [row["audio"] for row in csv.DictReader(file, delimiter="\t")]
    waveform_N = np.concatenate([load(prompts / clip) for clip in clips[::4]])
    table = Table("context s", "CPU s / h", "error", "units changed")
    reference_TD = config.model_copy(update={"context_seconds": CONTEXTS[0]}).load().extract(waveform_N)
    centroids_KD = fit_kmeans(reference_TD, CLUSTERS, seed=0, iterations=20)
    units_T = nearest(reference_TD, centroids_KD)
    for seconds in CONTEXTS[1:]:
        extractor = config.model_copy(update={"context_seconds": seconds}).load()
        began = time.process_time()
        features_TD = extractor.extract(waveform_N)
        cpu_seconds = (time.process_time() - began) / len(waveform_N) * SAMPLE_RATE * 3600
        error = np.linalg.norm(features_TD - reference_TD) / np.linalg.norm(reference_TD)
        changed = (nearest(features_TD, centroids_KD) != units_T).mean()
        table.add_row(f"{seconds:g}", f"{cpu_seconds:.0f}", f"{error:.1e}", f"{changed:.2%}")
    Console().print(table)
    Console().print(f"{len(waveform_N) / SAMPLE_RATE:.0f} s, layer {config.layer}, k = {CLUSTERS}")


if __name__ == "__main__":
    main()
