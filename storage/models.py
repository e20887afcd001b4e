"""Trained models of a store: for each a card with what was trained, on what, and where the weights are."""

import json
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from storage.errors import CorruptStore, NotFound, StorageError
from storage.records import read_object, to_json, typed
from storage.store import Store
from storage.uris import split_version

OLD_NAMES = {"preset": "architecture", "parts": "source_models"}
"""New names of fields of cards that earlier versions wrote."""
_PATH = re.compile(r"runs/([^/]+)/run\.json")


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The card of a trained model.

    Attributes:
        name: name of the model; equal requests have equal names.
        stage: name of the training stage.
        architecture: name or file of the architecture.
        corpus: STORE@VERSION that the model was trained on.
        settings: settings that were changed, FIELD=VALUE.
        source_models: names of the models that the training started from, by stage.
        code: revision of the program.
        folder: folder of the training run.
        checkpoint: folder of the best model.
        steps: optimizer steps.
        metrics: metrics of the last validation.
        finished: end of the training, UTC, ISO 8601.
    """

    name: str
    stage: str
    architecture: str
    corpus: str
    settings: tuple[str, ...]
    source_models: dict[str, str]
    code: str
    folder: str
    checkpoint: str
    steps: int
    metrics: dict[str, float]
    finished: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON values."""
        return json.loads(to_json(asdict(self)))


_CARD = TypeAdapter(ModelCard)


def register(store: Store, card: ModelCard) -> None:
    """Write the card of a model; an older one of the same name is replaced."""
    store.put(card_path(card.name), to_json(card.to_dict()))


def find_model(store: Store, name: str) -> ModelCard:
    """Return the card of a model; fields have their new names, whichever version wrote it.

    Raises:
        StorageError: there is no such model; the message lists the existing ones.
    """
    try:
        data = store.get(card_path(name))
    except NotFound as error:
        there = ", ".join(model_names(store)) or "none yet"
        raise StorageError(f"{store.uri} has no model {name}; it has {there}") from error
    url = store.url(card_path(name))
    values = read_object(data, url).items()
    return typed(_CARD, {OLD_NAMES.get(field, field): value for field, value in values}, url)


def model_names(store: Store) -> list[str]:
    """Return the names of all models in alphabetical order."""
    return sorted(match[1] for path in store.list("runs") if (match := _PATH.fullmatch(path)))


def cards_that_stay(store: Store, has: Callable[[int], bool]) -> set[str]:
    """Paths of the cards of the models that were trained on a version that stays, and of those that they started from.

    So do cards that name no version, and files that are no cards.

    Args:
        store: the store.
        has: whether a version stays, by its number.

    Raises:
        StorageError: the store does not answer.
    """
    cards: dict[str, ModelCard] = {}
    stay = set(model_names(store))
    for name in sorted(stay):
        with suppress(CorruptStore, NotFound):
            cards[name] = find_model(store, name)
    stay -= {name for name, card in cards.items() if not has(split_version(card.corpus)[1] or sys.maxsize)}
    while more := {source for name in stay & cards.keys() for source in cards[name].source_models.values()} - stay:
        stay |= more
    return {card_path(name) for name in stay}


def card_path(name: str) -> str:
    """Path of the card of a model."""
    return f"runs/{name}/run.json"
