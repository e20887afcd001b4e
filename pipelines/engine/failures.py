"""Records of failed steps; `echox debug` computes one of their work units again."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from pipelines.engine.step import Step, WorkUnit
from storage.errors import NotFound
from storage.records import read_object, to_json, typed
from storage.store import Store


class Failure(TypedDict):
    """Fields of a failed step and of the work units that it had to compute."""

    step: dict[str, Any]
    work_units: list[dict[str, Any]]


_FAILURE = TypeAdapter(Failure)


def record_failure(store: Store, step: Step[Any], todo: Sequence[WorkUnit[Any]]) -> str:
    """Write the record of a step's failure, replacing that of its last one; return its URL.

    Args:
        store: the corpus.
        step: the failed step.
        todo: work units that the step had to compute.

    Raises:
        StorageError: the store cannot be written.
    """
    failure = Failure(step=asdict(step), work_units=[asdict(work_unit) for work_unit in todo])
    store.put(_path(step.name), to_json(failure))
    return store.url(_path(step.name))


def read_failure(store: Store, step: str) -> Failure | None:
    """The record of a step's last failure; None if it never failed.

    Raises:
        StorageError: the store does not answer.
    """
    try:
        data = store.get(_path(step))
    except NotFound:
        return None
    url = store.url(_path(step))
    return typed(_FAILURE, read_object(data, url), url)


def _path(step: str) -> str:
    return f"failures/{step}.json"
