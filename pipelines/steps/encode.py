"""Step 5: encode the runs of each utterance as words of the unit language."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipelines.engine.build_step import Plan, TableStep
from pipelines.engine.state import BuildState
from pipelines.engine.step import Output, Process
from pipelines.records import FilePayload, Receipts
from pipelines.steps.fit_unit_language import load_unit_language
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table
from unitlang.language.unit_language import UnitLanguage

SPEED = 50_000.0
"""Approximate seconds of audio that one core encodes per second."""


@dataclass(frozen=True)
class Encode(TableStep[FilePayload]):
    """Step from units to words.

    Attributes:
        unit_language: fingerprint of the unit language.
        quantizer: fingerprint of the quantizer that made the units; the unit language refuses units of another one.
    """

    name: ClassVar[str] = "encode"
    revision: ClassVar[int] = 1
    after: ClassVar[tuple[str, ...]] = ("fit_unit_language",)
    tables: ClassVar[tuple[str, ...]] = ("unit_language",)
    unit_language: str
    quantizer: str

    @classmethod
    def plan(cls, build: BuildState) -> Plan:
        """See `TableStep.plan`."""
        step = cls(build.artifacts["unit_language"].fingerprint, build.artifacts["quantizer"].fingerprint)
        quantized = [receipt.files[0] for receipt in build.steps["quantize"]]
        work_units = [
            step.work_unit(file.sha256, FilePayload(path=file.path), utterances.seconds)
            for utterances, file in zip(build.utterance_files, quantized, strict=True)
        ]
        return Plan(step, work_units, SPEED)

    @classmethod
    def expected_rows(cls, steps: Receipts) -> int | None:
        """See `TableStep.expected_rows`."""
        return sum(receipt.rows_out for receipt in steps["quantize"])

    def open(self, store: Store) -> Process[FilePayload]:
        """See `Step.open`."""
        language = load_unit_language(store, self.unit_language)

        def process(payload: FilePayload) -> Output:
            return encode_table(read_table(store, payload["path"]), language, self.quantizer)

        return process


def encode_table(units: pa.Table, language: UnitLanguage, quantizer: str) -> Output:
    """Encode a `units` table as rows of the table `unit_language`.

    Raises:
        UnitlangError: the unit language was learnt from units of another quantizer.
    """
    sequences = [np.asarray(sequence.values, np.uint16) for sequence in units["units"]]
    words = language.encode_batch(sequences, quantizer=quantizer)
    table = pa.table(
        {
            "utterance_id": units["utterance_id"],
            "dataset": units["dataset"],
            "words": pa.array(words, pa.list_(pa.int32())),
            "num_runs": pa.array([len(sequence) for sequence in sequences], pa.int64()),
            "num_frames": units["num_frames"],
        },
        SCHEMAS["unit_language"],
    )
    return Output([("unit_language", table)], units.num_rows, table.num_rows)
