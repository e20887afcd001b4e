"""Which utterances are to be forgotten, as a person names them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from storage.suppression.names import under


@dataclass(frozen=True)
class Wanted:
    """Conditions on an utterance to be forgotten; it must meet all that are given.

    Attributes:
        speaker: id of its speaker.
        dataset: name of its dataset.
        licence: its licence.
        ids: ids of utterances, or of entries with several channels; None = any.
        new_names: names that datasets have now, by earlier ones, which mean the same.
    """

    speaker: str | None = None
    dataset: str | None = None
    licence: str | None = None
    ids: frozenset[str] | None = None
    new_names: Mapping[str, str] = field(default_factory=dict[str, str])

    def meets(self, facts: Mapping[str, Any]) -> bool:
        """Whether an entry or an utterance is meant, by its id and facts; rejected entries lack most of these."""
        if self.ids is not None and not self.names(facts.get("utterance_id")):
            return False
        if self.dataset is not None and self.dataset_now(facts["dataset"]) != self.dataset_now(self.dataset):
            return False
        told = {"speaker_id": self.speaker, "licence": self.licence}
        return all(value is None or facts.get(name) == value for name, value in told.items())

    def names(self, utterance_id: str | None) -> bool:
        """Whether an id, or what it is under the present name of its dataset, is given."""
        return utterance_id is not None and self.id_now(utterance_id) in self._ids_now

    def dataset_now(self, dataset: str) -> str:
        """The name that a dataset has now."""
        return self.new_names.get(dataset, dataset)

    def unknown(self, found: Iterable[str]) -> list[str]:
        """The given ids without those that were found, perhaps under another name of their dataset."""
        known = {self.id_now(name) for name in found}
        return sorted(name for name in self.ids or () if self.id_now(name) not in known)

    def id_now(self, name: str) -> str:
        """The id under the present name of its dataset."""
        dataset = name.partition("/")[0]
        return under(name, self.new_names[dataset]) if dataset in self.new_names else name

    @cached_property
    def _ids_now(self) -> frozenset[str]:
        return frozenset(map(self.id_now, self.ids or ()))

    def __str__(self) -> str:
        told = {"speaker": self.speaker, "dataset": self.dataset, "licence": self.licence}
        named = [f"{name} {value}" for name, value in told.items() if value is not None]
        return ", ".join([*named, *([f"{len(self.ids):,} ids"] if self.ids is not None else [])])


def read_wanted(
    *, speaker: str | None = None, dataset: str | None = None, ids: Path | None = None, licence: str | None = None
) -> Wanted:
    """Conditions with the ids of a file, one a line.

    Raises:
        UserError: nothing is given, or the file cannot be read or holds no id.
    """
    if speaker is None and dataset is None and ids is None and licence is None:
        raise UserError("say what to forget: --speaker, --dataset, --ids or --licence")
    return Wanted(speaker, dataset, licence, None if ids is None else read_ids(ids))


def read_ids(path: Path) -> frozenset[str]:
    """The ids in a file, one a line; empty lines do not count.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or holds no id.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: ids cannot be read ({error}); give a file of UTF-8 with one id a line") from error
    found = frozenset(line.strip() for line in lines if line.strip())
    if not found:
        raise UserError(f"{path}: holds no id; give a file with one id a line")
    return found
