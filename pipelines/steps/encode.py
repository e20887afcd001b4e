"""Step 5: runs -> words of the unit language."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pipelines.engine.step import Output, Payload, Step, Task
from pipelines.steps.fit_unit_language import load_unit_language
from storage.receipts import Receipt
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table
from unitlang.language.unit_language import UnitLanguage

SPEED = 50_000.0
"""Rough seconds of audio that one core encodes in a second."""


@dataclass(frozen=True)
class Encode(Step):
    """Units -> words.

    Attributes:
        unit_language: fingerprint of the unit language.
        quantizer: fingerprint of the quantizer that made the units; another one is refused.
    """

    name: ClassVar[str] = "encode"
    revision: ClassVar[int] = 1
    unit_language: str
    quantizer: str

    def unit_task(self, quantized: Receipt, seconds: float) -> Task:
        """The task for the output of `quantize` on one work unit."""
        units = quantized.files[0]
        return self.task(units.sha256, {"path": units.path}, seconds)

    def open(self, store: Store) -> Callable[[Payload], Output]:
        """See `Step.open`."""
        language = load_unit_language(store, self.unit_language)

        def process(payload: Payload) -> Output:
            return encode_table(read_table(store, payload["path"]), language, self.quantizer)

        return process


def encode_table(units: pa.Table, language: UnitLanguage, quantizer: str) -> Output:
    """The `unit_language` rows of a `units` table."""
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


if __name__ == "__main__":
    from pipelines.main import run_step

    run_step("encode")
