"""Example of a new step that reads audio: it measures the loudness of each utterance.

Legend: N = samples at 16 kHz.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipelines.engine.build_step import Plan, TableStep
from pipelines.engine.state import BuildState
from pipelines.engine.step import Output, Process
from pipelines.entries.roots import located, roots_of
from pipelines.records import FilePayload, Receipts, dataset_counts, selected, spoken_rows
from pipelines.sources.audio_files import Blocks, computed
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table
from unitlang.config import FrozenConfig
from unitlang.errors import AudioError


class LoudnessConfig(FrozenConfig):
    """Settings of the step `loudness`."""

    reference: float = Field(default=1.0, gt=0)
    """Amplitude of 0 dB."""


@dataclass(frozen=True)
class Loudness(TableStep[FilePayload]):
    """Step from utterances to their loudness in dB."""

    name: ClassVar[str] = "loudness"
    revision: ClassVar[int] = 1
    after: ClassVar[tuple[str, ...]] = ("ingest",)
    tables: ClassVar[tuple[str, ...]] = ("loudness",)
    settings: ClassVar[type[FrozenConfig] | None] = LoudnessConfig
    reference: float

    @classmethod
    def plan(cls, build: BuildState) -> Plan:
        step = cls(build.settings(cls.name, LoudnessConfig).reference)
        files = build.utterance_files
        roots = roots_of(build.config.sources)
        work_units = [step.work_unit(f.sha256, FilePayload(path=f.path, roots=roots), f.seconds) for f in files]
        return Plan(step, work_units, speed=300.0)

    @classmethod
    def expected_rows(cls, steps: Receipts) -> int | None:
        return sum(counts["utterances"] for _, counts in dataset_counts(steps["ingest"]))

    def open(self, store: Store) -> Process[FilePayload]:
        def process(payload: FilePayload) -> Output:
            rows = selected(spoken_rows(read_table(store, payload["path"]).to_pylist()), payload)
            rows = located(rows, payload.get("roots", {}))
            faults: dict[int, AudioError] = {}
            levels = dict(computed(rows, self.levels, faults))
            decibels = [
                {"utterance_id": row["utterance_id"], "decibels": None if number in faults else levels[number]}
                for number, row in enumerate(rows)  # audio that cannot be decoded is a reject of `quantize`
            ]
            table = pa.Table.from_pylist(decibels, SCHEMAS["loudness"])
            return Output([("loudness", table)], len(rows), len(decibels))

        return process

    def levels(self, streams: Iterable[tuple[int, Blocks]]) -> Iterator[tuple[int, float]]:
        """Yield the RMS levels in dB of numbered utterances, each of which comes in blocks waveform_N."""
        for number, blocks in streams:
            energy, samples = 0.0, 0
            for waveform_N in blocks:
                energy += float(np.square(waveform_N, dtype=np.float64).sum())
                samples += len(waveform_N)
            yield number, 10 * math.log10(energy / samples / self.reference**2) if energy else -math.inf
