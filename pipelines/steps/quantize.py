"""Step 3: decode, resample, extract features, assign to the nearest centroid: one fused pass -> units (runs)."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from pipelines.engine.devices import prepare_device
from pipelines.engine.step import Output, Payload, Reject, Step, Task
from pipelines.steps.audio_files import sound_streams
from pipelines.steps.fit_quantizer import load_quantizer
from pipelines.steps.ingest import WorkUnit
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table
from unitlang.errors import AudioError
from unitlang.quantizer.quantizer import Quantizer
from unitlang.units import RunEncoder, Runs


@dataclass(frozen=True)
class Quantize(Step):
    """Utterances -> units.

    Attributes:
        quantizer: fingerprint of the quantizer.
    """

    name: ClassVar[str] = "quantize"
    revision: ClassVar[int] = 1
    quantizer: str

    def unit_task(self, unit: WorkUnit) -> Task:
        """The task of one work unit."""
        return self.task(unit.sha256, {"path": unit.path}, unit.seconds)

    def open(self, store: Store) -> Callable[[Payload], Output]:
        """See `Step.open`."""
        device, threads = prepare_device()
        quantizer = load_quantizer(store, self.quantizer, device)

        def process(payload: Payload) -> Output:
            rows = read_table(store, payload["path"]).to_pylist()
            return quantize_rows([row for row in rows if row["audio"] is not None], quantizer, threads)

        return process


def quantize_rows(rows: list[dict[str, Any]], quantizer: Quantizer, threads: int = 1) -> Output:
    """Units of each utterance, or its reject; `threads` decode."""
    faults: dict[int, AudioError] = {}
    runs = [RunEncoder() for _ in rows]
    for number, units_T in quantizer.quantize_many(sound_streams(rows, faults, threads)):
        runs[number].add(units_T)
    sound = [number for number in range(len(rows)) if number not in faults]
    units = [_units_row(rows[number], runs[number].finish()) for number in sound]
    rejects = [_reject(rows[number], faults[number]) for number in sorted(faults)]
    totals: dict[str, dict[str, int]] = defaultdict(lambda: {"utterances": 0, "samples": 0})
    for row in (rows[number] for number in sound):
        totals[row["dataset"]]["utterances"] += 1
        totals[row["dataset"]]["samples"] += row["num_samples"]
    table = pa.Table.from_pylist(units, SCHEMAS["units"])
    return Output([("units", table)], len(rows), len(units), rejects, {"datasets": dict(totals)})


def _units_row(row: dict[str, Any], runs: Runs) -> dict[str, Any]:
    return {
        "utterance_id": row["utterance_id"],
        "dataset": row["dataset"],
        "units": runs.units_R,
        "durations": runs.durations_R,
        "num_frames": runs.num_frames,
    }


def _reject(row: dict[str, Any], error: AudioError) -> Reject:
    return Reject(row["dataset"], error.source, error.reason, error.message, row["utterance_id"], row["source_key"])


if __name__ == "__main__":
    from pipelines.main import run_step

    run_step("quantize")
