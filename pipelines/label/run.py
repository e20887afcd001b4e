"""Label the examples of a version: a work unit for each file of the table `echo`, in this process or on Ray."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console

from echox.data.corpus import Corpus
from echox.labelling import open_labelling
from pipelines.cluster.jobs import is_job_server
from pipelines.engine.execution import ExecutionConfig
from pipelines.engine.ray import check_address
from pipelines.engine.session import Session
from pipelines.engine.step import WorkUnit
from pipelines.errors import UserError
from pipelines.label.verify import TABLE, faults_of
from pipelines.reading import read_ahead
from pipelines.steps.label import Label, LabelPayload
from storage.approvals import check_trainable
from storage.collecting.marks import at_work
from storage.labels.kept import Labels, find_labels, put_labels
from storage.receipts import DataFile, Receipt, receipt_path
from storage.tables import read_table
from storage.versions import resolve
from unitlang.frames import SAMPLE_RATE

if TYPE_CHECKING:
    from echox.recipes.stages.echo import SpeechToSpeech

log = logging.getLogger(__name__)

SPEED = 4.0
"""Approximate seconds of requests that one core answers per second: measured with `tiny`; of GPUs it is a guess."""


@dataclass(frozen=True, kw_only=True)
class LabelRequest:
    """Request to label a version.

    Attributes:
        corpus: STORE@VERSION.
        runs: folders of finished runs of `s2t` and `t2c` by stage, on a disk that all workers share.
        settings: FIELD=VALUE of stage echo.
        batch: examples that are answered together.
        execution: settings of the execution.
        ray_address: `HOST:PORT` of a Ray cluster; None starts Ray on this machine when needed.
    """

    corpus: str
    runs: dict[str, str]
    settings: tuple[str, ...]
    batch: int
    execution: ExecutionConfig
    ray_address: str | None = None


@dataclass(frozen=True)
class Labelled:
    """Labels of a version, and whether anything had to be written."""

    labels: Labels
    new: bool


def label(request: LabelRequest, console: Console) -> Labelled:
    """Label all examples of stage echo of a version; finished work is skipped.

    Raises:
        UserError: the address is that of a job server, or no cluster answers there.
        EchoxError: a run or a setting does not fit; or the version has no such examples.
        StorageError: there is no such version, or it is a candidate; the store cannot be read or written.
    """
    _check_address(request.ray_address)
    store, version = resolve(request.corpus)
    check_trainable(store, version)
    stage = open_labelling(Corpus(store, version), request.runs, request.settings)
    files = version.files(TABLE, "shard")
    if not sum(file.rows for file in files):
        raise UserError(f"{version.uri}: table {TABLE} has no examples; build the corpus with {stage.fed_by}")
    with at_work(store), Session(store, request.execution, request.ray_address, console) as session:
        step = _step(stage, request.batch)
        units = _work_units(step, stage, request, files)
        found = find_labels(store, version.number, stage.label_key.name)
        known = _sound(stage, found) if found else []
        receipts = session.run(step, units, speed=SPEED, known=known, gpu=True)
        labels = _record(step, stage, request, files, receipts)
        if found is not None and (found.examples, found.receipts) == (labels.examples, labels.receipts):
            return Labelled(found, new=False)
        put_labels(store, labels)
        return Labelled(labels, new=True)


def _record(
    step: Label, stage: "SpeechToSpeech", request: LabelRequest, files: Sequence[DataFile], receipts: Sequence[Receipt]
) -> Labels:
    return Labels(
        name=stage.label_key.name,
        version=stage.setting.corpus.version.number,
        models=step.models,
        folders=request.runs,
        settings=step.settings,
        examples=tuple(file.path for file in files),
        receipts=tuple(receipts),
    )


def _check_address(address: str | None) -> None:
    if is_job_server(address):
        raise UserError(f"--ray {address}: labels are not written by a job; give HOST:PORT of the Ray cluster")
    if address is not None:
        check_address(address)


def _step(stage: "SpeechToSpeech", batch: int) -> Label:
    models, settings = stage.label_key
    return Label(models, settings, stage.setting.config.parallel.precision, batch)


def _sound(stage: "SpeechToSpeech", labels: Labels) -> list[Receipt]:
    """The receipts whose files are whole; those of others are removed, so that their work units are done again."""
    corpus = stage.setting.corpus
    units = list(zip(labels.examples, labels.receipts, strict=True))
    words = corpus.unit_language.vocab_size
    faults = read_ahead(partial(faults_of, corpus.store, *unit, words) for unit in units)
    sound: list[Receipt] = []
    for (_, receipt), wrong in zip(units, faults, strict=True):
        if wrong:
            log.warning("%s; it is labelled again", wrong[0])
            corpus.store.delete(receipt_path(receipt.step, receipt.fingerprint))
        else:
            sound.append(receipt)
    return sound


def _work_units(
    step: Label, stage: "SpeechToSpeech", request: LabelRequest, files: Sequence[DataFile]
) -> list[WorkUnit[LabelPayload]]:
    corpus = stage.setting.corpus
    reads = (partial(read_table, corpus.store, file.path, ["num_samples"]) for file in files)
    units: list[WorkUnit[LabelPayload]] = []
    for file, lengths in zip(files, read_ahead(reads), strict=True):
        payload = LabelPayload(
            path=file.path, version=corpus.version.number, runs=request.runs, settings=list(request.settings)
        )
        seconds = sum(lengths["num_samples"].to_pylist()) / SAMPLE_RATE
        units.append(step.work_unit(file.sha256, payload, seconds))
    return units
