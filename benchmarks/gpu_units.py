"""Units from a GPU: the same as from a CPU, the same each time, how fast, and how many cores must decode for it.

    python benchmarks/gpu_units.py --data FOLDER [--whisper FOLDER] [--layer 9] [--hours 1] [--processes 1,2,4]
                                   [--compared 2] [--device cuda]

FOLDER has speech in any formats. The extractors are a HuBERT-base of random weights in fp32 and bf16, and the third
layer of the Whisper of a Hugging Face folder. k-means on the features of the CPU gives 500 units.

"equal": units that are those of the CPU in fp32. "again": the same clips once more, in the same order; "others": in the
opposite order, and each clip alone, so other clips are computed with it; of both the share of equal units, and whether
all features have the same bits. "kernels": hours of speech per hour in which the GPU was busy; "memory": by one process
from waveforms in memory; "files": by so many processes that share the GPU, with decoding; a process decodes in one
thread. "cores" are CPU seconds per second of all of them: decoding, statistics and launching of kernels. Peak memory is
torch's, of one process. `--device cpu` is for rehearsals.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parents[1]))

from unitlang.audio.reading import load, stream
from unitlang.features import HubertConfig, as_array
from unitlang.features.base import ExtractorConfig, FeatureExtractor
from unitlang.features.whisper import WhisperConfig
from unitlang.frames import SAMPLE_RATE
from unitlang.quantizer.kmeans import fit_kmeans
from unitlang.quantizer.quantizer import Quantizer

CLUSTERS = 500
SECONDS = 180
"""Longest wait for a process."""
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["transformers.models.whisper.modeling_whisper", "unitlang.quantizer.quantizer", "torchaudio.models"]
)
SUFFIXES = {".flac", ".mp3", ".ogg", ".opus", ".wav"}
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """Prints what was measured of one extractor, as soon as it is known."""

    name: str

    def add(self, column: str, value: str) -> None:
        """Print a value."""
        print(f"{self.name}: {column}: {value}", flush=True)


def main() -> None:
    """Measure each extractor and print what is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--whisper", type=Path)
    parser.add_argument("--layer", type=int, default=9, help="of HuBERT")
    parser.add_argument("--compared", type=float, default=2.0, help="minutes of clips that the CPU computes too")
    parser.add_argument("--hours", type=float, default=1.0, help="for the speeds; the clips are repeated")
    parser.add_argument("--processes", default="1,2,4")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default="", help="extractors with this in their name")
    options = parser.parse_args()
    clips = sorted(path for path in options.data.rglob("*") if path.suffix in SUFFIXES)
    print_conditions(options.device, clips)
    with TemporaryDirectory() as folder:
        for name, config in extractors(Path(folder), options.layer, options.whisper).items():
            if options.only in name:
                row = Row(name)
                compared = list(repeated(clips, [len(load(path)) for path in clips], options.compared / 60))
                compare(row, config, compared[: len(clips)], options.device, Path(folder, "units"))
                processes = [int(count) for count in options.processes.split(",")]
                if options.hours:
                    speeds(row, Path(folder, "units"), clips, options.device, options.hours, processes)


def print_conditions(device: str, clips: Sequence[Path]) -> None:
    """Print what was measured on, and with what."""
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    seconds = sum(len(load(path)) for path in clips) / SAMPLE_RATE
    print(f"{date.today()}: {name}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(f"{len(clips)} clips, {seconds / 60:.1f} min", flush=True)


def extractors(folder: Path, layer: int, whisper: Path | None) -> dict[str, ExtractorConfig]:
    """The extractors by name; HuBERT has random weights."""
    from transformers import HubertConfig as Settings
    from transformers import HubertModel

    torch.manual_seed(0)
    HubertModel(Settings()).save_pretrained(folder / "hubert")
    checkpoint = str(folder / "hubert")
    found: dict[str, ExtractorConfig] = {
        "hubert fp32": HubertConfig(checkpoint=checkpoint, layer=layer),
        "hubert bf16": HubertConfig(checkpoint=checkpoint, layer=layer, precision="bf16"),
    }
    if whisper is not None:
        found["whisper fp32"] = WhisperConfig(checkpoint=str(whisper), layer=3)
    return found


def compare(row: Row, config: ExtractorConfig, clips: Sequence[Path], device: str, folder: Path) -> None:
    """Compare units and features with the CPU's, with those of a second run, and with those of other batches.

    Args:
        row: gets the shares.
        config: the extractor.
        clips: files of speech.
        device: torch's name.
        folder: gets the quantizer.
    """
    waveforms = [load(path) for path in clips]
    wanted = features(full(config).load("cpu"), waveforms, range(len(clips)))
    reference_TD = np.concatenate(wanted)
    extractor = config.load(device)
    quantizer = Quantizer(extractor, fit_kmeans(reference_TD, CLUSTERS, seed=0, iterations=5), "benchmark")
    quantizer.save(folder)
    found = features(extractor, waveforms, range(len(clips)))
    error = np.linalg.norm(np.concatenate(found) - reference_TD) / np.linalg.norm(reference_TD)
    row.add("error of features", f"{error:.1e}")
    row.add("equal", f"{np.mean(quantizer.assign(reference_TD) == units(quantizer, waveforms)):.3%}")
    orders = {"again": [range(len(clips))], "others": [range(len(clips))[::-1], *([i] for i in range(len(clips)))]}
    for name, parts in orders.items():
        row.add(name, same(quantizer, waveforms, found, parts))


def full(config: ExtractorConfig) -> ExtractorConfig:
    """The same features in float32."""
    return config.model_copy(update={"precision": "fp32"}) if isinstance(config, HubertConfig) else config


def features(extractor: FeatureExtractor, waveforms: Sequence[FloatArray], order: Iterable[int]) -> list[FloatArray]:
    """Features of each of these waveforms, in ascending order of their numbers."""
    parts: dict[int, list[FloatArray]] = {}
    for number, features_TD in extractor.stream_many((number, [waveforms[number]]) for number in order):
        parts.setdefault(number, []).append(as_array(features_TD))
    return [np.concatenate(parts[number]) for number in sorted(parts)]


def units(quantizer: Quantizer, waveforms: Sequence[FloatArray]) -> NDArray[np.uint16]:
    """Units of all waveforms, one after another, as a build computes them."""
    found = quantizer.quantize_many((number, [waveform_N]) for number, waveform_N in enumerate(waveforms))
    parts: dict[int, list[NDArray[np.uint16]]] = {}
    for number, units_T in found:
        parts.setdefault(number, []).append(units_T)
    return np.concatenate([part for number in sorted(parts) for part in parts[number]])


def same(
    quantizer: Quantizer, waveforms: Sequence[FloatArray], before: list[FloatArray], orders: Iterable[Sequence[int]]
) -> str:
    """Say how far features in these orders equal those from before, and their units."""
    equal: list[NDArray[np.bool_]] = []
    bits = True
    for order in orders:
        found = features(quantizer.extractor, waveforms, order)
        for number, features_TD in zip(sorted(order), found, strict=True):
            bits &= bool(np.array_equal(features_TD, before[number]))
            equal.append(quantizer.assign(features_TD) == quantizer.assign(before[number]))
    return f"{np.concatenate(equal).mean():.3%}, {'same bits' if bits else 'other bits'}"


def speeds(row: Row, folder: Path, clips: Sequence[Path], device: str, hours: float, processes: Sequence[int]) -> None:
    """Measure the speeds.

    Args:
        row: gets them.
        folder: the quantizer.
        clips: files of speech.
        device: torch's name.
        hours: speech of each process.
        processes: how many share the GPU.
    """
    quantizer = Quantizer.open(folder, device)
    waveforms = [load(path) for path in clips]
    units(quantizer, waveforms)  # warm
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        row.add("kernels", f"{speech_seconds(waveforms) / busy(quantizer, waveforms):,.0f}")
    start = time.perf_counter()
    enough = list(repeated(waveforms, [len(waveform_N) for waveform_N in waveforms], hours))
    units(quantizer, enough)
    row.add("memory", f"{speech_seconds(enough) / (time.perf_counter() - start):,.0f}")
    if device == "cuda":
        row.add("peak memory", f"{torch.cuda.max_memory_allocated() / 1e9:.2f} GB")
    row.add("decoding", f"{decoding(clips):.1f} CPU s an hour")
    del quantizer
    for count in processes:
        row.add(f"files, {count} processes", shared(folder, clips, device, hours, count))


def speech_seconds(waveforms: Iterable[FloatArray]) -> float:
    """Seconds of speech."""
    return sum(map(len, waveforms)) / SAMPLE_RATE


def repeated(items: Sequence[Any], samples: Sequence[int], hours: float) -> Iterator[Any]:
    """Yield items again and again until they are so many hours of speech."""
    left = hours * 3600 * SAMPLE_RATE
    for item, count in cycle(zip(items, samples, strict=True)):
        if left <= 0:
            return
        left -= count
        yield item


def busy(quantizer: Quantizer, waveforms: Sequence[FloatArray]) -> float:
    """Seconds in which kernels run or memory is copied while the waveforms become units."""
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        units(quantizer, waveforms)
    return sum(event.self_device_time_total for event in recorded.key_averages()) / 1e6


def decoding(clips: Sequence[Path]) -> float:
    """CPU seconds that an hour of the clips takes to decode."""
    start = time.process_time()
    seconds = sum(len(block_N) for path in clips for block_N in stream(path)) / SAMPLE_RATE
    return (time.process_time() - start) * 3600 / seconds


def shared(folder: Path, clips: Sequence[Path], device: str, hours: float, count: int) -> str:
    """Hours per hour of so many processes, and the cores that they use."""
    barrier, results = CONTEXT.Barrier(count), CONTEXT.Queue()
    arguments = (folder, clips, device, hours, barrier, results)
    workers = [CONTEXT.Process(target=work, args=arguments, daemon=True) for _ in range(count)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=SECONDS) for _ in workers]
    wall = max(end for _, end, _, _ in found) - min(start for start, _, _, _ in found)
    seconds, cores = sum(speech for _, _, _, speech in found), sum(cpu for _, _, cpu, _ in found) / wall
    return f"{seconds / wall:,.0f} with {cores:.1f} cores"


def work(folder: Path, clips: Sequence[Path], device: str, hours: float, barrier: Any, results: Any) -> None:
    """Turn files into units; put start, end, CPU seconds and seconds of speech."""
    torch.set_num_threads(1)
    quantizer = Quantizer.open(folder, device)
    waveforms = [load(path) for path in clips]
    units(quantizer, waveforms)  # warm
    samples = [len(waveform_N) for waveform_N in waveforms]
    chosen = list(repeated(range(len(clips)), samples, hours))
    barrier.wait(SECONDS)
    start, cpu = time.time(), time.process_time()
    for _ in quantizer.quantize_many((number, stream(clips[clip])) for number, clip in enumerate(chosen)):
        pass
    results.put((start, time.time(), time.process_time() - cpu, sum(samples[clip] for clip in chosen) / SAMPLE_RATE))


if __name__ == "__main__":
    main()
