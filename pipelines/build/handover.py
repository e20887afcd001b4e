"""Run a build step by step, possibly in separate processes; the store holds the state between two steps."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from pydantic import TypeAdapter

from pipelines.build.commit import Built, finish
from pipelines.build.given import take
from pipelines.build.parent import open_parent
from pipelines.config.build import BuildConfig
from pipelines.engine.session import Session
from pipelines.engine.state import BuildState, EntryChanges
from pipelines.records import CameWith
from pipelines.steps import step_names, steps
from storage.artifacts import ArtifactRef
from storage.errors import CorruptStore, NotFound
from storage.receipts import Receipt
from storage.records import read_object, to_json, typed
from storage.store import Store
from storage.versions import Contents, contents_of, load

FOLDER = "builds"
_PATH = re.compile(rf"{FOLDER}/(\d{{8,}})/.*")
"""Path of a state; the first group is the number of the parent version, 0 without one."""
COMMIT = "commit"
STEP_NAMES = (*step_names(), COMMIT)
"""All steps and the commit, in order."""


@dataclass(frozen=True)
class Handover:
    """Progress of a build after a step, as small JSON values for the process that runs the next one.

    Attributes:
        store: URI of the corpus.
        build: name of the build: the path of its first state.
        path: path of the state in the store; the file name is a hash of its contents.
        step: the last finished step; empty before the first.
        facts: numbers of that step, to show.
    """

    store: str
    build: str
    path: str
    step: str = ""
    facts: dict[str, int] = field(default_factory=dict[str, int])

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _State:
    """A `BuildState` between two steps, as JSON values."""

    config: dict[str, Any]
    parent: int | None
    steps: dict[str, list[Receipt]]
    artifacts: dict[str, ArtifactRef]
    specs: dict[str, str]
    changes: EntryChanges = field(default_factory=EntryChanges)
    taken: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    origins: dict[str, CameWith | None] = field(default_factory=dict[str, "CameWith | None"])
    suppression: list[str] = field(default_factory=list[str])
    gone: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    retried: dict[str, str] = field(default_factory=dict[str, str])


_STATE = TypeAdapter(_State)


def begin(config: BuildConfig) -> Handover:
    """Store the state of a new build on top of the last version of the corpus.

    Raises:
        StorageError: the store cannot be read or written.
    """
    store, parent = open_parent(config)
    _sweep(store, parent.number if parent else 0)
    given = take(config, store, parent)
    number = parent.number if parent else None
    state = _State(_values(given.config), number, {}, given.artifacts, given.specs, origins=given.origins)
    path = _put(store, state)
    return Handover(store.uri, path, path)


def advance(handover: Handover, step: str, session: Session) -> Handover:
    """Run one step, or the commit, on top of `handover`.

    Args:
        handover: progress of the build so far.
        step: the next step, or `COMMIT`.
        session: runs the work units.

    Raises:
        UserError: config or sources are invalid, or too many entries are rejected.
        StorageError: the store cannot be read or written, or another build committed first.
        AssertionError: a step lost or duplicated an utterance.
    """
    build = _load(handover, session)
    if step == COMMIT:
        built = finish(build)
        facts = {"version": built.version.number, "committed": built.new, **asdict(built.changes)}
        return replace(handover, step=step, facts=facts)
    steps()[step].run(build)
    state = _State(
        config=_values(build.config),
        parent=build.parent.number if build.parent else None,
        steps=build.steps,
        artifacts=build.artifacts,
        specs=build.specs,
        changes=build.changes,
        taken=build.taken,
        origins=build.origins,
        suppression=build.suppression,
        gone=build.gone,
        retried=build.retried,
    )
    facts = step_facts(build.steps.get(step, ()))
    return replace(handover, path=_put(session.store, state), step=step, facts=facts)


def built(handover: Handover) -> Built:
    """The result of a build after its commit.

    Raises:
        StorageError: the version cannot be read from the store.
    """
    facts = dict(handover.facts)
    version = load(Store.open(handover.store), facts.pop("version"))
    return Built(version, bool(facts.pop("committed")), EntryChanges(**facts))


def step_facts(receipts: Sequence[Receipt]) -> dict[str, int]:
    """Numbers of work units, rows and rejects of a step."""
    return {
        "work_units": len(receipts),
        "rows": sum(receipt.rows_out for receipt in receipts),
        "rejects": sum(sum(receipt.rejects.values()) for receipt in receipts),
    }


def _load(handover: Handover, session: Session) -> BuildState:
    store = session.store
    state = _read(store, handover.path)
    parent = load(session.store, state.parent) if state.parent else None
    config = BuildConfig.model_validate(state.config)
    return BuildState(
        config,
        session,
        parent,
        steps=state.steps,
        artifacts=state.artifacts,
        specs=state.specs,
        changes=state.changes,
        taken=state.taken,
        origins=state.origins,
        suppression=state.suppression,
        gone=state.gone,
        retried=state.retried,
    )


def _values(config: BuildConfig) -> dict[str, Any]:
    """The fields that are stated in a config, as JSON values; readers ask which ones are."""
    return config.model_dump(mode="json", exclude_unset=True)


def _put(store: Store, state: _State) -> str:
    data = to_json(json.loads(_STATE.dump_json(state)))
    path = f"{FOLDER}/{state.parent or 0:08d}/{sha256(data).hexdigest()[:32]}.json"
    store.put(path, data)
    return path


def pending(store: Store, since: datetime) -> Iterator[Contents]:
    """Yield what the builds refer to that wrote their state after `since`, and may go on from it.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    for file in store.listed(FOLDER):
        if _PATH.fullmatch(file.path) and file.modified > since:
            with suppress(NotFound, CorruptStore):
                state = _read(store, file.path)
                yield contents_of(state.steps, state.artifacts.values())


def _read(store: Store, path: str) -> _State:
    url = store.url(path)
    return typed(_STATE, read_object(store.get(path), url), url)


def _sweep(store: Store, last: int) -> None:
    """Delete the states of builds that can no longer commit; builds on the last two versions may still run."""
    for path in store.list(FOLDER):
        if (of_build := _PATH.fullmatch(path)) and int(of_build[1]) < last - 1:
            store.delete(path)
