"""Answers of other processes to work units: receipts, crashes and errors, as rows of text."""

import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict

from pydantic import TypeAdapter

from pipelines.engine.crashes import Crash
from pipelines.errors import KINDS, USER_ERRORS, kind_of
from storage.receipts import Receipt

CRASH = "crash"
"""Kind of an answer that is a crash."""
_CRASH = TypeAdapter(Crash)


class WorkUnitFailed(RuntimeError):  # noqa: N818 - reads as what it says
    """A step failed in another process; the message holds the traceback of that process."""


def unpack(row: Mapping[str, str]) -> Receipt | Crash:
    """The receipt in a row that `Worker` returned, or what is known of the death of its process.

    Raises:
        UserError: the worker met a mistake of the user.
        Unavailable: the store did not answer the worker.
        WorkUnitFailed: any other failure of the worker.
    """
    if row["kind"] == CRASH:
        return _CRASH.validate_json(row["receipt"])
    if row["kind"]:
        raise KINDS.get(row["kind"], WorkUnitFailed)(row["error"])
    return Receipt.from_dict(json.loads(row["receipt"]))


def answer(compute: Callable[[], Receipt | Crash]) -> dict[str, str]:
    """Answer of a worker: receipt or crash as JSON, or kind and message of the error."""
    try:
        made = compute()
    except USER_ERRORS as error:
        return {"receipt": "", "kind": kind_of(error), "error": str(error)}
    except Exception as error:  # a boundary: the driver raises it again, without the frames of Ray around it
        return {"receipt": "", "kind": kind_of(error), "error": described(error)}
    return {"receipt": json.dumps(asdict(made)), "kind": CRASH if isinstance(made, Crash) else "", "error": ""}


def described(error: Exception) -> str:
    """One line with the error and its place, followed by the traceback with its notes."""
    notes: list[str] = getattr(error, "__notes__", [])
    place = "; ".join(notes)
    return f"{type(error).__name__}: {error} ({place})\n\nTraceback of the worker:\n" + "".join(
        traceback.format_exception(error)
    )
