"""Records of failed steps, from which one work unit can be computed again."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypedDict

from pipelines.engine.step import Step, WorkUnit
from storage.errors import NotFound
from storage.receipts import to_json
from storage.store import Store


class Failure(TypedDict):
    """Fields of a step, and of the work units that it had to do when it failed."""

    step: dict[str, Any]
    work_units: list[dict[str, Any]]


def record_failure(store: Store, step: Step[Any], todo: Sequence[WorkUnit[Any]]) -> str:
    """Write the record of a step's failure, over that of its last one; return its URL."""
    failure = Failure(step=asdict(step), work_units=[asdict(unit) for unit in todo])
    store.put(_path(step.name), to_json(failure))
    return store.url(_path(step.name))


def read_failure(store: Store, step: str) -> Failure | None:
    """The record of a step's last failure; None where it never failed."""
    try:
        return json.loads(store.get(_path(step)))
    except NotFound:
        return None


def _path(step: str) -> str:
    return f"failures/{step}.json"
