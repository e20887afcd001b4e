"""Trained models of a store: for each run a card that tells what was trained, on what, and where the weights are."""

import json
import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from storage.errors import NotFound, StorageError
from storage.receipts import to_json
from storage.store import Store

_PATH = re.compile(r"runs/([^/]+)/run\.json")


@dataclass(frozen=True, kw_only=True)
class RunCard:
    """A finished run.

    Attributes:
        name: of the run; equal requests have equal names.
        stage: `s2t`, `t2c` or `echo`.
        preset: the architecture.
        corpus: STORE@VERSION that it was trained on.
        settings: FIELD=VALUE that were changed.
        parts: names of the runs that it stands on, by stage.
        code: revision of the program.
        folder: the run's folder.
        checkpoint: folder of its best model.
        steps: optimizer steps.
        metrics: of the last validation.
        finished: UTC, ISO 8601.
    """

    name: str
    stage: str
    preset: str
    corpus: str
    settings: tuple[str, ...]
    parts: dict[str, str]
    code: str
    folder: str
    checkpoint: str
    steps: int
    metrics: dict[str, float]
    finished: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return json.loads(to_json(asdict(self)))


_CARD = TypeAdapter(RunCard)


def register(store: Store, card: RunCard) -> None:
    """Leave the card of a run, over an older one of the same name."""
    store.put(_path(card.name), to_json(card.to_dict()))


def find_model(store: Store, name: str) -> RunCard:
    """The card of a run.

    Raises:
        StorageError: there is none; the message tells those there are.
    """
    try:
        return _CARD.validate_json(store.get(_path(name)))
    except NotFound as error:
        there = ", ".join(model_names(store)) or "none yet"
        raise StorageError(f"{store.uri} has no run {name}; it has {there}") from error


def model_names(store: Store) -> list[str]:
    """Names of all runs, in alphabetical order."""
    return sorted(match[1] for path in store.list("runs") if (match := _PATH.fullmatch(path)))


def _path(name: str) -> str:
    return f"runs/{name}/run.json"
