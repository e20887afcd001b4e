"""One build, or one check, of the benchmark of scale: a process of its own, which prints what each step cost.

    python build.py CONFIG_AS_JSON build|verify [CONTROL_URL]

Audio is faked: a file holds its number and its length in samples. Everything else is the program's own.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO
from urllib.request import urlopen

import clips
import numpy as np
from rich.console import Console

import pipelines.build.build as of_build
from pipelines.build.verify import verify
from pipelines.config.build import check_config
from pipelines.engine.crashes import Crash
from pipelines.engine.isolation import Computation
from pipelines.engine.pools.decoded import Decoded
from pipelines.engine.step import WorkUnit
from pipelines.readers.places import Place
from pipelines.sources import audio_files, texts
from pipelines.steps import steps
from storage.receipts import Receipt
from storage.versions import resolve
from unitlang.audio.reading import AudioInfo
from unitlang.audio.sources import open_source
from unitlang.frames import SAMPLE_RATE


def opened(source: Any) -> BinaryIO:
    """In place of `open_source`: files of a bucket, whose contents follow from their names, are not read."""
    in_bucket = isinstance(source, str) and source.startswith("s3://")
    return BytesIO(clips.audio(clips.number_of(source))) if in_bucket else open_source(source)


def fetch_text(place: Place) -> str:
    """In place of the function of this name of `pipelines.readers.lines`: texts of a bucket are not read."""
    return clips.text(clips.number_of(place.path))


def faked(source: Any) -> tuple[int, int]:
    """Number and length in samples of an audio file."""
    with closing(opened(source)) as file:
        told = file.read(64)
    number, samples = map(int, told.split())
    return number, samples


def measure(source: Any) -> tuple[AudioInfo, int]:
    """In place of the function of this name of `unitlang.audio.reading`."""
    _, samples = faked(source)
    return AudioInfo(SAMPLE_RATE, 1, "faked", samples), samples


def stream_segments(source: Any, segments: Iterable[tuple[int, int]], **options: Any) -> Iterator[Iterator[Any]]:
    """In place of the function of this name of `unitlang.audio.reading`."""
    del options
    number, _ = faked(source)
    for _, samples in segments:
        waveform_N = np.zeros(samples, np.float32)
        waveform_N[0] = number
        yield iter([waveform_N])


class Meter:
    """Measures CPU and wall seconds and peak memory by step, for the driver and for its work units."""

    def __init__(self, control: str | None) -> None:
        self.control = control
        self.began = time.monotonic()
        self.first_work: float | None = None
        self.rows: list[dict[str, Any]] = []
        self.step, self.role = "start", "driver"
        self._reset()

    def turn(self, step: str, role: str) -> None:
        """Begin to measure something else."""
        self._close()
        if role == "worker" and self.first_work is None:
            self.first_work = time.monotonic() - self.began
        self.step, self.role = step, role
        if self.control:
            urlopen(f"{self.control}/turn/{step}/{role}").close()  # noqa: S310 - the proxy of the benchmark
        self._reset()

    def _reset(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is that of today
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def _close(self) -> None:
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        measures = {"cpu": time.process_time() - self._cpu, "wall": time.monotonic() - self._wall, "mb": peak / 1024}
        self.rows.append({"step": self.step, "role": self.role, **measures})

    def end(self) -> dict[str, Any]:
        """All that was measured."""
        self.turn("end", "driver")
        return {"first_work": self.first_work, "rows": self.rows}


def measured(meter: Meter) -> None:
    """Tell the meter of each step and each work unit of a build."""
    compute = Computation.__call__

    def computed(self: Computation, work_unit: WorkUnit[Any], decoded: Decoded | None = None) -> Receipt | Crash:
        step = meter.step
        meter.turn(step, "worker")
        try:
            return compute(self, work_unit, decoded)
        finally:
            meter.turn(step, "driver")

    Computation.__call__ = computed
    for name, step in steps().items():
        step.run = classmethod(_told(meter, name, step.run.__func__))  # pyright: ignore[reportAttributeAccessIssue]
    of_build.finish = _told(meter, "commit", of_build.finish)


def _told(meter: Meter, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def called(*arguments: Any) -> Any:
        meter.turn(name, "driver")
        return call(*arguments)

    return called


def main() -> None:
    """Build or verify, and print the measurements as JSON."""
    values, what = json.loads(sys.argv[1]), sys.argv[2]
    audio_files.measure, audio_files.stream_segments = measure, stream_segments
    audio_files.open_source, texts.fetch_text = opened, fetch_text
    meter = Meter(sys.argv[3] if len(sys.argv) > 3 else None)
    if what == "build":
        measured(meter)
        meter.turn("open", "driver")
        of_build.build(check_config(values, "benchmark", Path.cwd()), Console(quiet=True))
    else:
        meter.turn("verify", "driver")
        faults = sum(1 for _ in zip(count(), verify(*resolve(values["store"])), strict=False))
        if faults:
            raise SystemExit(f"{faults} faults")
    print(json.dumps(meter.end()))


if __name__ == "__main__":
    main()
