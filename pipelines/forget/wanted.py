"""Which utterances are to be forgotten, as a person names them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import UserError


@dataclass(frozen=True)
class Wanted:
    """Conditions on an utterance to be forgotten; it must meet all that are given.

    Attributes:
        speaker: id of its speaker.
        dataset: name of its dataset.
        licence: its licence.
        ids: ids of utterances, or of entries with several channels; None = any.
    """

    speaker: str | None = None
    dataset: str | None = None
    licence: str | None = None
    ids: frozenset[str] | None = None

    def meets(self, facts: Mapping[str, Any]) -> bool:
        """Whether an entry or an utterance is meant, by its id and facts; rejected entries lack most of these."""
        if self.ids is not None and facts.get("utterance_id") not in self.ids:
            return False
        told = {"speaker_id": self.speaker, "dataset": self.dataset, "licence": self.licence}
        return all(value is None or facts.get(name) == value for name, value in told.items())

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
