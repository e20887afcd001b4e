"""Example of a new step: it measures the loudness of each utterance."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipelines.engine.build_step import Plan, TableStep
from pipelines.engine.state import BuildState
from pipelines.engine.step import Output, Process
from pipelines.records import FilePayload, Receipts, dataset_counts, spoken_rows
from pipelines.steps.audio_files import row_streams
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table
from unitlang.config import FrozenConfig


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
        return Plan(step, [step.work_unit(f.sha256, FilePayload(path=f.path), f.seconds) for f in files], speed=300.0)

    @classmethod
    def expected_rows(cls, steps: Receipts) -> int | None:
        return sum(counts["utterances"] for _, counts in dataset_counts(steps["ingest"]))

    def open(self, store: Store) -> Process[FilePayload]:
        def process(payload: FilePayload) -> Output:
            rows = spoken_rows(read_table(store, payload["path"]).to_pylist())
            decibels = [
                {"utterance_id": row["utterance_id"], "decibels": self.level(np.concatenate(list(blocks)))}
                for row, blocks in row_streams(rows)
            ]
            table = pa.Table.from_pylist(decibels, SCHEMAS["loudness"])
            return Output([("loudness", table)], len(rows), len(decibels))

        return process

    def level(self, waveform_N: np.ndarray) -> float:
        return float(20 * np.log10(np.sqrt(np.mean(waveform_N**2)) / self.reference + 1e-9))
