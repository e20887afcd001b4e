"""Numbers of the turns of dialogues whose sources give none, where the dialogue has a gap.

A turn without a number takes its position among the turns that follow each other. After a reject or a withdrawn turn
that would be another one, and an answer would belong to another question: so the turns of a dialogue with a gap get
the numbers of their places in the source.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pipelines.entries.entries import Entry, entry_dialogues, from_line
from pipelines.readers.base import Item

Line = Mapping[str, Any]
"""Values of a line of a work unit of `ingest`."""


def numbers(lines: Sequence[Line], rejected: Collection[bytes]) -> dict[bytes, int | None]:
    """Numbers of the turns of dialogues whose source gives none, by the keys of their entries; None without a gap.

    Args:
        lines: the entries of a work unit.
        rejected: keys of those of which something was rejected.
    """
    found: dict[bytes, int | None] = {}
    first = 0
    for group in entry_dialogues(map(from_line, lines)):
        of_group = lines[first : first + len(group)]
        first += len(group)
        if group[0].dialogue_id is not None:
            found |= _of_dialogue(group, of_group, rejected)
    return found


def _of_dialogue(
    group: Sequence[Entry], lines: Sequence[Line], rejected: Collection[bytes]
) -> Iterator[tuple[bytes, int | None]]:
    keys = [bytes.fromhex(line["key"]) for line in lines]
    gap = any(key in rejected or _is_gap(entry, line) for key, entry, line in zip(keys, group, lines, strict=True))
    for position, (key, entry) in enumerate(zip(keys, group, strict=True)):
        if isinstance(entry, Item) and entry.turn is None:
            place = position if entry.place is None else entry.place
            yield key, place if gap else None


def _is_gap(entry: Entry, line: Line) -> bool:
    """Whether turns are missing before this entry, or a part of it is."""
    return not isinstance(entry, Item) or entry.place is not None or bool(line.get("without"))
