"""A session that computes nothing: it says what the work units of each step would cost, and predicts their receipts."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from typing_extensions import override

from pipelines.config.build import BuildConfig
from pipelines.engine.crashes import Crash
from pipelines.engine.execution import GIB, worker_count, worker_needs
from pipelines.engine.pools.growth import Room
from pipelines.engine.session import Session
from pipelines.engine.step import Step, WorkUnit
from pipelines.outlook.lengths import Lengths
from pipelines.records import StepStatistics, count_datasets, spoken_rows, utterance_files
from pipelines.sources.cutting import cut
from pipelines.steps.ingest import Ingest
from storage.artifacts import ArtifactRef, artifact_path, digest
from storage.receipts import DataFile, Receipt, data_path
from storage.schemas import table_of
from storage.store import Store
from storage.tables import rows_to_parquet
from storage.versions import Version
from unitlang.frames import SAMPLE_RATE

PREDICTED = "predicted"
"""Fingerprint of an artifact that is yet to be fitted, and folder of files that are yet to be made."""
BYTES_PER_SECOND: Mapping[str, float] = {"ingest": 120.0, "quantize": 77.0, "encode": 57.0, "shard": 13_200.0}
"""Bytes that a step writes for a second of audio, where no version tells (measured on the sample corpus)."""


@dataclass(frozen=True)
class RayRequest:
    """Resources that a step asks Ray for.

    Attributes:
        workers: number of workers; None = as many as the cluster has room for.
        cpus: CPUs of each.
        gpus: GPUs of each; None = one if the cluster has any.
        memory_gib: memory of each; None = not limited.
    """

    workers: int | None
    cpus: float
    gpus: float | None
    memory_gib: float | None


@dataclass(frozen=True)
class StepOutlook:
    """Work of a step.

    Attributes:
        step: its name.
        work_units: number of work units to compute.
        hours: audio to process at most, in hours.
        core_hours: time that this takes one core, roughly.
        bytes: approximate size of the files.
        ray: what Ray is asked for; None = the step runs in the process of the build.
    """

    step: str
    work_units: int
    hours: float
    core_hours: float
    bytes: int
    ray: RayRequest | None


@dataclass(frozen=True)
class EarlierWork:
    """Work that stays as an earlier revision of a step did it.

    Attributes:
        step: name of the step.
        revision: its revision in this program.
        work_units: number of work units that stay.
        hours: their audio.
        core_hours: time that one core would take to do them again, roughly.
    """

    step: str
    revision: int
    work_units: int
    hours: float
    core_hours: float


class Prediction(Session):
    """Predicts the work of the steps of a build.

    Args:
        store: the corpus; `echox build --dry-run` gives one that is not written.
        config: configuration of the build.
        ray_address: address of a Ray cluster, which is not asked; None = this machine.
        parent: the last version of the corpus.

    Attributes:
        steps: the steps that have work.
        earlier: the steps of which an earlier revision did some of the work that stays.
        fits: kinds of the artifacts that would be fitted.
        rejects: keys of the entries of known rejects of `ingest` in the work units to compute.
        lengths: lengths of entries.
    """

    def __init__(self, store: Store, config: BuildConfig, ray_address: str | None, parent: Version | None) -> None:
        super().__init__(store, config.run, ray_address, Console(quiet=True))
        self.steps: list[StepOutlook] = []
        self.earlier: list[EarlierWork] = []
        self.fits: list[str] = []
        self.rejects: list[str] = []
        self.lengths = Lengths(parent.steps["ingest"] if parent else ())
        self._local = ray_address is None
        self._codebook = config.quantizer.centroids is not None
        self._looks_for_duplicates = config.duplicates == "reject"
        self._bytes = dict(BYTES_PER_SECOND) | (_bytes_per_second(parent) if parent else {})
        before = parent.steps.values() if parent else ()
        self._rows = {file.path: file.rows for receipts in before for file in _files(receipts)}
        self._unread: dict[str, float] = {}

    @override
    def run(self, step: Step[Any], work_units: Sequence[WorkUnit[Any]], **how: Any) -> list[Receipt]:
        receipts = super().run(step, work_units, **how)
        self._rows |= {file.path: file.rows for file in _files(receipts)}
        return receipts

    @override
    def tell_earlier(self, step: Step[Any], work_units: Sequence[WorkUnit[Any]], speed: float) -> None:
        if work_units:
            hours = sum(work_unit.seconds for work_unit in work_units) / 3600
            self.earlier.append(EarlierWork(step.name, step.revision, len(work_units), hours, hours / speed))

    @override
    def fitted(self, kind: str, fit: Callable[[], ArtifactRef]) -> ArtifactRef:
        if kind == "quantizer" and self._codebook:
            return fit()  # a published codebook is only read
        self.fits.append(kind)
        return ArtifactRef(kind, PREDICTED, artifact_path(kind, PREDICTED))

    @override
    def _execute(
        self, step: Step[Any], todo: Sequence[WorkUnit[Any]], speed: float, gpu: bool
    ) -> Iterator[Receipt | Crash]:
        rate = self._bytes.get(step.name, 0.0)
        receipts = [self._receipt(step, work_unit, rate) for work_unit in todo]
        seconds = sum(self._seconds(step, work_unit) for work_unit in todo)
        self.steps.append(
            StepOutlook(
                step.name,
                len(todo),
                seconds / 3600,
                seconds / speed / 3600,
                sum(file.bytes for file in _files(receipts)),
                self._ray_request(step, todo, gpu) if self.needs_ray(todo, speed) else None,
            )
        )
        return iter(receipts)

    def _seconds(self, step: Step[Any], work_unit: WorkUnit[Any]) -> float:
        """Audio to process in a work unit, in seconds, without what is taken over from the last version."""
        takes = isinstance(step, Ingest) or bool(work_unit.payload.get("taken"))
        return self._unread.get(_input(work_unit), work_unit.seconds) if takes else work_unit.seconds

    def _ray_request(self, step: Step[Any], todo: Sequence[WorkUnit[Any]], gpu: bool) -> RayRequest:
        room = Room(_this_machine(self.config.workers) if self._local else {}, {})
        needs = worker_needs(self.config, step.name, gpu, room.now)
        unknown = gpu and not self._local and self.config.gpus_per_worker is None
        return RayRequest(
            worker_count(self.config, len(todo), needs, room) if self._local else self.config.workers,
            needs["CPU"],
            None if unknown else needs["GPU"],
            needs["memory"] / GIB if "memory" in needs else None,
        )

    def _receipt(self, step: Step[Any], work_unit: WorkUnit[Any], rate: float) -> Receipt:
        if isinstance(step, Ingest):
            return self._ingested(step, work_unit, rate)
        name, rows = work_unit.fingerprint, self._rows.get(_input(work_unit), 0)
        size = int(rate * work_unit.seconds / len(step.tables))
        files = [DataFile(table, f"{PREDICTED}/{table}-{name}", rows, size, name) for table in step.tables]
        return Receipt(name, step.name, tuple(files), rows, rows, {}, {})

    def _ingested(self, step: Ingest, work_unit: WorkUnit[Any], rate: float) -> Receipt:
        """The predicted receipt of a work unit of `ingest`; its rejects are only counted, as no file has them."""
        made = self.lengths.rows(self.store, work_unit)
        self.rejects += made.rejects
        name, files, seconds = work_unit.fingerprint, list[DataFile](), list[float]()
        payload = work_unit.payload
        groups = cut(made.rows, step.minutes, payload.get("borders"), payload.get("roots", {}))
        for number, group in enumerate(groups):
            length = sum(row["num_samples"] for row in group) / SAMPLE_RATE
            unread = [row["num_samples"] for row in group if row["utterance_id"] in made.assumed]
            data = b""
            if self._looks_for_duplicates or not unread:
                data = rows_to_parquet("utterances", table_of(group, "utterances"))
            predicted = f"{PREDICTED}/utterances-{name}.{number}", f"{name}-{number}"
            path, sha256 = predicted if unread else (data_path("utterances", name, data), digest(data))
            if self._looks_for_duplicates:
                self.store.put(path, data)
            self._unread[path] = sum(unread) / SAMPLE_RATE
            files.append(DataFile("utterances", path, len(group), int(rate * length), sha256))
            seconds.append(length)
        self._unread[_input(work_unit)] = sum(self._unread[file.path] for file in files)
        stats = StepStatistics(
            seconds=seconds,
            datasets=count_datasets(spoken_rows(made.rows)),
            taken=list(work_unit.payload.get("taken", ())),
        )
        return Receipt(name, step.name, tuple(files), len(made.rows), len(made.rows), {}, dict(stats))


def _files(receipts: Sequence[Receipt]) -> list[DataFile]:
    return [file for receipt in receipts for file in receipt.files]


def _input(work_unit: WorkUnit[Any]) -> str:
    """Path of the file that a work unit reads; empty for one that reads several."""
    return work_unit.payload.get("path", "")


def _bytes_per_second(version: Version) -> dict[str, float]:
    """Bytes that each step wrote for a second of audio in a version."""
    seconds = sum(file.seconds for file in utterance_files(version.steps["ingest"]))
    sizes = Counter({name: sum(file.bytes for file in _files(receipts)) for name, receipts in version.steps.items()})
    return {name: size / seconds for name, size in sizes.items()} if seconds else {}


def _this_machine(workers: int | None) -> dict[str, float]:
    """Resources that a Ray on this machine would have."""
    import psutil  # comes with Ray
    import torch

    memory = psutil.virtual_memory().available
    return {"CPU": workers or os.cpu_count() or 1, "GPU": torch.cuda.device_count(), "memory": memory}
