"""Measure a whole build: wall time by step, the share of HuBERT, and the cost of Ray.

    python benchmarks/build.py [--minutes 20] [--features mfcc] [--layer 9] [--workers 2] [--data FOLDER]

The model is a HuBERT-base with random weights. The corpus is speech of FOLDER (default: ../shared/data if it exists),
extended by noise if it is too short, as FLAC of 2 to 20 s in a temporary folder. The quantizer is learnt from a quarter
of it.

Table of steps: "wall s" is wall time. "model s" is time inside `HubertExtractor.compute`, summed over the workers and
divided by their number: 100 % of the wall time means that all workers compute all the time. "CPU s / h" is CPU time in
work units per hour of the corpus, the cost of a large build, in which starts and fits are negligible. The last line,
"every hour", leaves out the sample for k-means, which does not grow with the corpus.

Table of `quantize`: the time before the first work unit begins (Ray, processes, model), then the model's share of the
workers' wall time, beside a plain loop without Ray, tables or checksums: the same number of processes, each of which
decodes, extracts and assigns one work unit after another. The start of the loop is not compared, because it imports
other modules. Wall times need a quiet machine; shares of CPU time do not.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import soundfile
import torch
from extraction import utterances
from rich.console import Console
from rich.table import Table
from timed_steps import TimedSession, Timing, timing_of
from transformers import HubertConfig as HuggingFaceConfig
from transformers import HubertModel

from pipelines.build.commit import finish
from pipelines.config.build import BuildConfig, check_config
from pipelines.engine.devices import prepare_device
from pipelines.engine.state import BuildState
from pipelines.steps import steps
from pipelines.steps.fit_quantizer import load_quantizer
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version
from unitlang.audio.reading import load
from unitlang.features import EXTRACTORS
from unitlang.frames import SAMPLE_RATE

DATA = Path(__file__).parents[2] / "shared" / "data"
CLUSTERS = 500
WORK_UNITS = 24
STEP_OF_WORK_UNITS = {"fit_quantizer": "sample_features"}
"""Steps whose work units belong to a step of another name."""
TABLES = ("utterances", "units", "unit_language", "s2t", "t2c", "echo")


@dataclass(frozen=True)
class Part:
    """Times of one step of the build, of its commit, or of the plain loop.

    Attributes:
        name: name of the step.
        wall: wall seconds.
        began: start in seconds of the wall clock.
        timings: times of its work units.
    """

    name: str
    wall: float
    began: float
    timings: Sequence[Timing] = ()

    @property
    def cpu(self) -> float:
        """CPU seconds of the processes during work units."""
        return sum(timing.cpu for timing in self.timings)

    @property
    def model(self) -> float:
        """Wall seconds in the model, summed over the workers."""
        return sum(timing.model for timing in self.timings)

    @property
    def model_cpu(self) -> float:
        """CPU seconds in the model."""
        return sum(timing.model_cpu for timing in self.timings)


def main() -> None:
    """Build, measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="audio in all")
    parser.add_argument("--features", choices=("hubert", "mfcc"), default="hubert")
    parser.add_argument("--layer", type=int, default=9)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--data", type=Path, default=DATA if DATA.is_dir() else None, help="folder of speech")
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        hours = write_speech(Path(folder, "speech"), options.minutes, options.data)
        features = hubert(Path(folder), options.layer) if options.features == "hubert" else {"kind": "mfcc"}
        config = build_config(Path(folder), options.minutes, features, options.workers)
        version, parts = build(config, console)
        console.print(steps_table(parts, options.workers, hours))
        store = Store.open(config.store)
        loop = plain_loop(store, version, options.workers)
        console.print(quantize_table(next(part for part in parts if part.name == "quantize"), loop, options.workers))
        console.print(storage_table(version, hours))
        console.print(f"{hours * 60:.1f} min of audio, {options.features}, {options.workers} workers")


def write_speech(folder: Path, minutes: float, data: Path | None) -> float:
    """Write utterances as FLAC files; return their length in hours."""
    folder.mkdir()
    samples = 0
    for number, waveform_N in enumerate(utterances(60 * minutes, data)):
        samples += len(waveform_N)
        soundfile.write(folder / f"{number:05}.flac", waveform_N, SAMPLE_RATE)
        (folder / f"{number:05}.txt").write_text(f"utterance {number}")
    return samples / SAMPLE_RATE / 3600


def hubert(folder: Path, layer: int) -> dict[str, Any]:
    """Write a HuBERT-base with random weights; return the config of its features."""
    torch.manual_seed(0)
    HubertModel(HuggingFaceConfig()).save_pretrained(folder / "model")
    return {"kind": "hubert", "checkpoint": "model", "layer": layer}


def build_config(folder: Path, minutes: float, features: dict[str, Any], workers: int) -> BuildConfig:
    """Config of a build with `WORK_UNITS` work units, whose sampling and quantization run on Ray.

    Args:
        folder: folder of the speech and the model.
        minutes: length of the speech.
        features: config of the extractor.
        workers: number of workers.
    """
    values = {
        "store": "store",
        "sources": [{"kind": "folder", "path": "speech", "dataset": "speech"}],
        "features": features,
        "quantizer": {"k": CLUSTERS, "sample_hours": minutes / 60 / 4},
        "work_units": {"minutes": minutes / WORK_UNITS},
        "run": {"workers": workers, "ray_above_seconds": 60 * minutes / 4 / EXTRACTORS[features["kind"]].speed / 2},
    }
    return check_config(values, "benchmark", folder)


def build(config: BuildConfig, console: Console) -> tuple[Version, list[Part]]:
    """Run the steps and the commit as `pipelines.build.build.build` does; return the times of each."""
    parts: list[Part] = []
    with TimedSession(Store.open(config.store, create=True), config.run, console) as session:
        state = BuildState(config, session, None)
        for name, step in steps().items():
            began = time.time()
            step.run(state)
            timings = session.timings.get(STEP_OF_WORK_UNITS.get(name, name), [])
            parts.append(Part(name, time.time() - began, began, timings))
        began = time.time()
        built = finish(state)
        parts.append(Part("commit", time.time() - began, began))
    return built.version, parts


def plain_loop(store: Store, version: Version, workers: int) -> Part:
    """Decode, extract and assign the same work units in `workers` processes."""
    quantizer = version.artifacts["quantizer"].fingerprint
    jobs = [(store.uri, quantizer, file.path) for file in version.files("utterances")]
    began = time.time()
    with get_context("spawn").Pool(workers, prepare_device) as pool:
        timings = list(pool.imap_unordered(time_work_unit, jobs, chunksize=1))
    return Part("plain loop", time.time() - began, began, timings)


_quantizers = {}


def time_work_unit(job: tuple[str, str, str]) -> Timing:
    """Time one work unit of the plain loop, in a process that keeps its model."""
    uri, name, path = job
    store = Store.open(uri)
    if name not in _quantizers:
        _quantizers[name] = load_quantizer(store, name)
    quantizer = _quantizers[name]
    uris = [audio["uri"] for audio in read_table(store, path)["audio"].to_pylist()]
    _, timing = timing_of(lambda: list(quantizer.quantize_many((uri, [load(uri)]) for uri in uris)))
    return timing


def steps_table(parts: Sequence[Part], workers: int, hours: float) -> Table:
    """Table of wall and CPU time by step."""
    table = Table("step", "wall s", "share", "model s", "of wall", "CPU s / h", "model")
    wall = sum(part.wall for part in parts)
    for part in parts:
        table.add_row(part.name, *step_cells([part], wall, workers, hours))
    table.add_row("all", *step_cells(parts, wall, workers, hours))
    lasting = [part for part in parts if part.name in ("ingest", "quantize", "encode", "shard")]
    table.add_row("every hour", *step_cells(lasting, wall, workers, hours))
    return table


def step_cells(parts: Sequence[Part], wall: float, workers: int, hours: float) -> list[str]:
    """Cells of a row for one or several steps.

    Args:
        parts: the steps.
        wall: wall seconds of the whole build.
        workers: number of workers.
        hours: hours of the corpus.
    """
    own = sum(part.wall for part in parts)
    model = sum(part.model for part in parts) / workers
    cpu = sum(part.cpu for part in parts)
    model_cpu = sum(part.model_cpu for part in parts)
    cells = [f"{own:.1f}", f"{own / wall:.1%}", f"{model:.1f}", f"{model / own:.1%}"]
    return [*cells, f"{cpu / hours:.1f}", f"{model_cpu / cpu:.1%}" if cpu else ""]


def quantize_table(quantize: Part, loop: Part, workers: int) -> Table:
    """Table of `quantize` on Ray beside the plain loop."""
    table = Table("quantize", "on Ray", "plain loop", "ratio", title=f"{workers} workers")
    first = min(timing.began for timing in quantize.timings)
    table.add_row("wall s before the first work unit", f"{first - quantize.began:.1f}", "", "")
    for name, of in (
        ("wall s from then on", lambda part: presence(part.timings)),
        ("CPU s of the workers", lambda part: part.cpu),
    ):
        ours, plain = of(quantize), of(loop)
        table.add_row(name, f"{ours:.1f}", f"{plain:.1f}", f"{ours / plain:.3f}")
    for name, of in (("model, of that wall time", model_share), ("model, of the workers' CPU", model_share_of_cpu)):
        table.add_row(name, *(f"{of(part):.1%}" for part in (quantize, loop)), "")
    memory = (max(timing.memory for timing in part.timings) for part in (quantize, loop))
    table.add_row("peak memory of a worker, MB", *(f"{peak:.0f}" for peak in memory), "")
    return table


def model_share(part: Part) -> float:
    """Share of the model in the wall time from each worker's first work unit to its last."""
    workers = {timing.process for timing in part.timings}
    return part.model / sum(presence([t for t in part.timings if t.process == worker]) for worker in workers)


def presence(timings: Sequence[Timing]) -> float:
    """Seconds from the start of the first work unit to the end of the last one."""
    return max(timing.ended for timing in timings) - min(timing.began for timing in timings)


def model_share_of_cpu(part: Part) -> float:
    """Share of the model in the CPU time of the work units."""
    return part.model_cpu / part.cpu


def storage_table(version: Version, hours: float) -> Table:
    """Table of the size of each corpus table per hour of audio."""
    table = Table("table", "kB / h of audio")
    for name in TABLES:
        files = version.files(name)
        if files:
            table.add_row(name, f"{sum(file.bytes for file in files) / hours / 1000:.1f}")
    return table


if __name__ == "__main__":
    main()
