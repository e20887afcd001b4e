"""The Ray actors of the form with two stages: decoders on CPUs, and workers that compute on what they decode.

A decoder hands over a work unit without audio, and its worker decodes it as in the form with one stage, if the unit is
too long to be held in memory; if it killed decoders, so that its worker finds the guilty file in a child process; or if
decoding fails, so that a failure is reported in one way only.
"""

import json
import logging
import pickle
from typing import Any

import pyarrow as pa
from threadpoolctl import threadpool_limits

from pipelines.engine.answers import answer
from pipelines.engine.crashes import DEATHS, counted, deaths
from pipelines.engine.pools.decoded import NOTHING, Decoded
from pipelines.engine.step import Step, WorkUnit
from pipelines.engine.worker import Worker
from storage.store import Store

log = logging.getLogger(__name__)

LONGEST_SECONDS = 3600.0
"""Longest work unit that is decoded apart: its samples take 230 MB."""


class Decoder:
    """The actor that decodes work units, one per call and on one thread."""

    def __init__(self) -> None:
        threadpool_limits(1, "blas")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Add the audio of the one work unit of a batch, as `Decoded.columns`."""
        (row,) = batch.to_pylist()
        step, store, _ = pickle.loads(row["job"])  # noqa: S301 - written by the driver
        made = decoded_apart(step, store, WorkUnit(**json.loads(row["work_unit"])))
        for name, column in (made.columns() if made else NOTHING).items():
            batch = batch.append_column(name, column)
        return batch


class Assigner(Worker):
    """`Worker` that gets the audio of its work units, as far as a decoder could decode it."""

    def __call__(self, batch: Any) -> dict[str, list[str]]:
        """Compute the one work unit of a batch."""
        job, work_unit = batch["job"][0].as_py(), batch["work_unit"][0].as_py()
        row = answer(lambda: self.made(job, WorkUnit(**json.loads(work_unit)), Decoded.from_row(batch)))
        return {name: [value] for name, value in row.items()}


def decoded_apart(step: Step[Any], store: Store, work_unit: WorkUnit[Any]) -> Decoded | None:
    """The audio of a work unit, or None if the worker that computes it is to decode it.

    The work unit is marked as begun meanwhile, so deaths in this stage count, too.
    """
    try:
        died = deaths(store, step, work_unit)
        if died >= DEATHS or work_unit.seconds > LONGEST_SECONDS:
            return None
        with counted(store, step, work_unit, died):
            return step.decode(store, work_unit.payload)
    except Exception:  # the worker meets it again, and reports it
        log.warning("step %s, work unit %s: decoding fails", step.name, work_unit.fingerprint, exc_info=True)
        return None
