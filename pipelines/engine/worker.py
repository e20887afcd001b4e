"""The Ray actor that computes work units, and the transfer of its receipts and errors to the driver."""

import json
import pickle
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from pipelines.engine.step import Step, WorkUnit, perform
from pipelines.errors import KINDS, USER_ERRORS, kind_of
from storage.receipts import Receipt
from storage.store import Store


class WorkUnitFailed(RuntimeError):  # noqa: N818 - reads as what it says
    """A step failed in another process; the message holds the traceback of that process."""


def pack(step: Step[Any], store: Store, work_unit: WorkUnit[Any]) -> dict[str, Any]:
    """Pack a work unit as a row of the Ray dataset that `Worker` processes."""
    return {"job": pickle.dumps((step, store)), "work_unit": json.dumps(asdict(work_unit))}


def unpack(row: Mapping[str, str]) -> Receipt:
    """The receipt in a row that `Worker` returned.

    Raises:
        UserError: the worker met a mistake of the user.
        Unavailable: the store did not answer the worker.
        WorkUnitFailed: any other failure of the worker.
    """
    if row["kind"]:
        raise KINDS.get(row["kind"], WorkUnitFailed)(row["error"])
    return Receipt.from_dict(json.loads(row["receipt"]))


class Worker:
    """The actor that Ray Data calls; it opens the step at the first call and computes one work unit per call.

    Step and store are part of each row, not arguments of the actor. Ray keeps arguments in the object store of one
    node; if that node died, no actor could be restarted.
    """

    def __init__(self) -> None:
        self._perform: Callable[[WorkUnit[Any]], Receipt] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Compute the one work unit of a batch; return its receipt, or kind and message of the error."""
        try:
            receipt = self._compute(batch["job"][0], WorkUnit(**json.loads(str(batch["work_unit"][0]))))
        except USER_ERRORS as error:
            return {"receipt": [""], "kind": [kind_of(error)], "error": [str(error)]}
        except Exception as error:  # a boundary: the driver raises it again, without the frames of Ray around it
            return {"receipt": [""], "kind": [kind_of(error)], "error": [described(error)]}
        return {"receipt": [json.dumps(receipt.to_dict())], "kind": [""], "error": [""]}

    def _compute(self, job: bytes, work_unit: WorkUnit[Any]) -> Receipt:
        if self._perform is None:
            step, store = pickle.loads(job)  # noqa: S301 - written by the driver, above
            self._perform = partial(perform, step, step.open(store), store)
        return self._perform(work_unit)


def described(error: Exception) -> str:
    """One line with the error and its place, followed by the traceback with its notes."""
    notes: list[str] = getattr(error, "__notes__", [])
    place = "; ".join(notes)
    return f"{type(error).__name__}: {error} ({place})\n\nTraceback of the worker:\n" + "".join(
        traceback.format_exception(error)
    )
