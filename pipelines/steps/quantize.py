"""Step 3: decode and resample the audio, extract features and assign units in one pass; write them as runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import ClassVar

import pyarrow as pa

from pipelines.engine.build_step import Plan, TableStep
from pipelines.engine.devices import prepare_device
from pipelines.engine.pools.decoded import Decoded
from pipelines.engine.rejects import check_some_left
from pipelines.engine.state import BuildState
from pipelines.engine.step import Output, Process, Reject, WorkUnit
from pipelines.entries.roots import located, roots_of
from pipelines.records import (
    QuantizePayload,
    Receipts,
    SpokenRow,
    StepStatistics,
    count_datasets,
    count_licences,
    dataset_counts,
    selected,
    spoken_rows,
)
from pipelines.sources.audio_files import computed, crash_reject, decoded
from pipelines.sources.duplicates import REASON, originals
from pipelines.sources.taking_over import TakenUnits, UnitsRow, sources_of, units_files
from pipelines.steps.fit_quantizer import load_quantizer
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table
from unitlang.errors import AudioError
from unitlang.quantizer.quantizer import Quantizer
from unitlang.units import RunEncoder, Runs


class WrongFrames(RuntimeError):  # noqa: N818 - reads as what it says
    """An extractor gave another number of frames than its grid; a bug of the extractor."""


@dataclass(frozen=True)
class Quantize(TableStep[QuantizePayload]):
    """Step from utterances to units.

    Attributes:
        quantizer: fingerprint of the quantizer.
    """

    name: ClassVar[str] = "quantize"
    revision: ClassVar[int] = 1
    after: ClassVar[tuple[str, ...]] = ("fit_quantizer",)
    tables: ClassVar[tuple[str, ...]] = ("units",)
    decodes: ClassVar[bool] = True
    quantizer: str

    @classmethod
    def plan(cls, build: BuildState) -> Plan:
        """See `TableStep.plan`."""
        step = cls(build.artifacts["quantizer"].fingerprint)
        roots, sources = roots_of(build.config.sources), sources_of(build)
        parent = build.parent
        same = parent is not None and parent.artifacts["quantizer"].fingerprint == step.quantizer
        takes = same and not build.recomputes(cls.name)
        before, done = units_files(build), {receipt.fingerprint for receipt in build.parent_receipts(cls.name)}
        duplicates = originals(build) if build.config.duplicates == "reject" else {}
        work_units: list[WorkUnit[QuantizePayload]] = []
        for file in build.utterance_files:
            payload = QuantizePayload(path=file.path, roots=roots)
            if file.path in duplicates:
                payload["duplicates"] = duplicates[file.path]
            inputs = [file.sha256, duplicates[file.path]] if file.path in duplicates else file.sha256
            work_unit = step.work_unit(inputs, payload, file.seconds)
            taken = sources[file.path] if takes and work_unit.fingerprint not in done else ()
            payload["taken"] = [before[source.path] for source in taken]
            work_units.append(work_unit)
        features = build.config.features
        return Plan(step, work_units, features.speed, features.gains_by_gpu)

    @classmethod
    def expected_rows(cls, steps: Receipts) -> int | None:
        """See `TableStep.expected_rows`."""
        return sum(counts["utterances"] for _, counts in dataset_counts(steps["ingest"]))

    @classmethod
    def check(cls, build: BuildState) -> None:
        """See `TableStep.check`."""
        check_some_left(build.session.store, build.steps, cls.name)

    def open(self, store: Store) -> Process[QuantizePayload]:
        """See `Step.open`. The model is loaded by the first work unit that has audio to quantize."""

        @cache
        def load() -> tuple[Quantizer, int]:
            device, threads = prepare_device()
            return load_quantizer(store, self.quantizer, device), threads

        def process(payload: QuantizePayload) -> Output:
            rows = selected(_rows(store, payload), payload)
            taken = TakenUnits(store, payload.get("taken", ()), rows)
            return quantize_rows(rows, load, taken, payload.get("duplicates", {}), payload.get("decoded"))

        return process

    def decode(self, store: Store, payload: QuantizePayload) -> Decoded:
        """See `Step.decode`; the audio of those utterances that are neither taken over nor duplicates."""
        rows = _rows(store, payload)
        known, units = _settled(rows, TakenUnits(store, payload.get("taken", ()), rows), payload.get("duplicates", {}))
        return decoded(rows[number] for number in _unread(known, units))

    def crash_rejects(self, store: Store, payload: QuantizePayload) -> list[Reject]:
        """See `Step.crash_rejects`."""
        return [crash_reject(row) for row in _rows(store, payload)]


def _rows(store: Store, payload: QuantizePayload) -> Sequence[SpokenRow]:
    return located(spoken_rows(read_table(store, payload["path"]).to_pylist()), payload.get("roots", {}))


def quantize_rows(
    rows: Sequence[SpokenRow],
    load: Callable[[], tuple[Quantizer, int]],
    taken: TakenUnits | None = None,
    duplicates: Mapping[str, str] = MappingProxyType({}),
    given: Decoded | None = None,
) -> Output:
    """Quantize utterances; those whose audio is unusable, or that of another one, become rejects.

    Args:
        rows: utterances with audio.
        load: gives the quantizer and the number of threads that decode; called if there is audio to quantize.
        taken: units and rejects of earlier work units, made by the same quantizer.
        duplicates: utterances to reject, by id; the values are the ids of those with the same audio.
        given: audio of the utterances that are neither taken over nor duplicates, if another process has decoded it.

    Raises:
        UserError: a file is missing or changed since it was ingested.
        WrongFrames: the number of frames of an utterance is not that of the extractor's grid.
        Exception: any failure of the extractor, with a note that names the utterance.
    """
    known, units = _settled(rows, taken, duplicates)
    todo = _unread(known, units)
    made = _quantized([rows[number] for number in todo], *load(), given) if todo else []
    for number, found in zip(todo, made, strict=True):
        if isinstance(found, Reject):
            known[number] = found
        else:
            units[number] = found
    quantized = [row for row in units if row is not None]
    rejects = [reject for reject in known if reject is not None]
    used = [row for row, made in zip(rows, units, strict=True) if made]
    stats = StepStatistics(datasets=count_datasets(used))
    if licences := count_licences(used):
        stats["licences"] = licences
    table = pa.Table.from_pylist(quantized, SCHEMAS["units"])
    return Output([("units", table)], len(rows), len(quantized), rejects, stats)


def _settled(
    rows: Sequence[SpokenRow], taken: TakenUnits | None, duplicates: Mapping[str, str]
) -> tuple[list[Reject | None], list[UnitsRow | None]]:
    """Rejects and units of utterances whose audio need not be read."""
    known = [_duplicate(row, duplicates) or (taken.reject_of(row) if taken else None) for row in rows]
    units = [taken.units_of(row) if taken and reject is None else None for row, reject in zip(rows, known, strict=True)]
    return known, units


def _unread(known: Sequence[Reject | None], units: Sequence[UnitsRow | None]) -> list[int]:
    return [number for number, found in enumerate(units) if found is None and known[number] is None]


def _quantized(
    rows: Sequence[SpokenRow], quantizer: Quantizer, threads: int, given: Decoded | None
) -> list[UnitsRow | Reject]:
    """A row of the table `units`, or a reject, for each utterance."""
    faults: dict[int, AudioError] = {}
    encoders = [RunEncoder() for _ in rows]
    for number, units_T in computed(rows, quantizer.quantize_many, faults, threads, given):
        encoders[number].add(units_T)
    return [
        _reject(row, faults[number]) if number in faults else _units_row(row, encoders[number].finish(), quantizer)
        for number, row in enumerate(rows)
    ]


def _units_row(row: SpokenRow, runs: Runs, quantizer: Quantizer) -> dict[str, object]:
    expected = quantizer.extractor.grid.num_frames(row["num_samples"])
    if runs.num_frames != expected:
        raise WrongFrames(
            f"extractor {quantizer.extractor.config.kind} gave {runs.num_frames} frames for utterance "
            f"{row['utterance_id']} of {row['num_samples']} samples; its frame grid says {expected}: mend the extractor"
        )
    return {
        "utterance_id": row["utterance_id"],
        "dataset": row["dataset"],
        "units": runs.units_R,
        "durations": runs.durations_R,
        "num_frames": runs.num_frames,
    }


def _duplicate(row: SpokenRow, duplicates: Mapping[str, str]) -> Reject | None:
    """The reject of an utterance that has the audio of another one."""
    original = duplicates.get(row["utterance_id"])
    if original is None:
        return None
    source, message = str(row["audio"]["uri"]), f"the same audio as utterance {original}"
    return Reject(row["dataset"], source, REASON, message, row["utterance_id"], row["source_key"])


def _reject(row: SpokenRow, error: AudioError) -> Reject:
    uri, root = row["audio"]["uri"] or error.source, row.get("root")
    message = error.message.replace(f"{root}/", "") if root else error.message
    return Reject(row["dataset"], uri, error.reason, message, row["utterance_id"], row["source_key"])
