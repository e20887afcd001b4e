"""Repeating a failed work unit alone in this process, from the record that its build left in the store."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

from pipelines.engine.step import Step, WorkUnit, perform
from pipelines.errors import UserError
from storage.errors import NotFound
from storage.receipts import Receipt, to_json
from storage.store import Store

MakeStep = Callable[[dict[str, Any]], Step[Any]]
"""Makes a step from the JSON values of its fields."""


def record_failure(store: Store, step: Step[Any], todo: Sequence[WorkUnit[Any]]) -> str:
    """Leave the step and the work units that it had to do, over the record of its last failure; return its URL."""
    values = {"step": asdict(step), "work_units": [asdict(unit) for unit in todo]}
    store.put(_path(step.name), to_json(values))
    return store.url(_path(step.name))


def repeat(store: Store, name: str, fingerprint: str, make_step: MakeStep) -> Receipt:
    """Compute a work unit of the last failed run of a step again, in this process; its output is written as ever.

    Args:
        store: the corpus.
        name: of the step.
        fingerprint: of the work unit; its first characters suffice.
        make_step: makes the step from its recorded fields.

    Raises:
        UserError: no failure of this step is recorded, or it does not concern this work unit.
        Exception: the failure itself.
    """
    try:
        record = json.loads(store.get(_path(name)))
    except NotFound as error:
        message = f"{store.uri}: no failure of step {name} is recorded; build again to see whether it fails"
        raise UserError(message) from error
    units = {unit["fingerprint"]: unit for unit in record["work_units"]}
    found = [full for full in units if full.startswith(fingerprint)]
    if len(found) != 1:
        raise UserError(_not_one(store, name, fingerprint, list(units)))
    step = make_step(record["step"])
    return perform(step, step.open(store), store, WorkUnit(**units[found[0]]))


def _not_one(store: Store, step: str, fingerprint: str, known: list[str]) -> str:
    near = get_close_matches(fingerprint, known, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"it had {len(known)} left to do, the first is {known[0]}"
    return f"{store.uri}: {fingerprint} names no single work unit of the last failure of step {step}; {remedy}"


def _path(step: str) -> str:
    return f"failures/{step}.json"
