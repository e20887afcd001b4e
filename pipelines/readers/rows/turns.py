"""Turns of dialogues: their fields, and which audio is theirs."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from pipelines.readers.base import BadItem, Item
from pipelines.readers.places import Place
from pipelines.readers.rows import fields
from pipelines.readers.rows.names import spelled
from pipelines.readers.rows.paths import locate
from pipelines.readers.rows.times import get_segment

TURNS = ("conversations", "conversation", "messages", "turns", "dialogue")
ROLE = ("from", "role", "speaker")
TEXT = ("value", "content", "text", "transcript")
AUDIO = ("audio", "audio_path", "path", "wav", "audpath")
LOOK_AHEAD = 1024
"""Broken rows behind a turn that wait for the next good one."""
PLACEHOLDER = re.compile(r"<\|?(audio|speech|sound)\|?>", re.IGNORECASE)
"""Mark of the audio in the text of a turn."""


def in_dialogues(entries: Iterable[Item | BadItem]) -> Iterator[Item | BadItem]:
    """Yield the entries of a file; broken rows between turns without numbers of one dialogue are turns of it.

    Such a row may say nothing of its dialogue, and its neighbours must keep their places. Memory: `LOOK_AHEAD` rows.
    """
    last: tuple[str, str] | None = None
    held: list[BadItem] = []
    for entry in entries:
        if last and isinstance(entry, BadItem) and entry.dialogue_id is None and len(held) < LOOK_AHEAD:
            held.append(entry)
            continue
        now = _unnumbered_dialogue(entry)
        if last and last == now:
            held = [replace(bad, dataset=last[0], dialogue_id=last[1]) for bad in held]
        yield from held
        held = []
        yield entry
        last = now
    yield from held


def _unnumbered_dialogue(entry: Item | BadItem) -> tuple[str, str] | None:
    """Dataset and dialogue of a turn without a number."""
    if entry.dialogue_id is None or (isinstance(entry, Item) and entry.turn is not None):
        return None
    return entry.dataset, entry.dialogue_id


def audio_of(turn: Mapping[str, Any]) -> str | None:
    """Return the path of a turn's own audio.

    Raises:
        ValueError: as `fields.get_path`.
    """
    return fields.get_path(turn, spelled(AUDIO, turn))


def text_of(turn: Mapping[str, Any]) -> str | None:
    """Return the text of a turn.

    Raises:
        ValueError: as `fields.get_text`.
    """
    return fields.get_text(turn, spelled(TEXT, turn))


def with_audio(record: Mapping[str, Any], turns: list[Any]) -> list[Any]:
    """Return the turns with the audio that the record states for them.

    Raises:
        ValueError: the record has audio that belongs to no turn.
    """
    key = fields.first_of(AUDIO, record)
    values: list[Any] = (
        cast("list[Any]", record[key]) if key and isinstance(record[key], list) else [record.get(key or "")]
    )
    paths = [path for value in values if (path := fields.get_path({"audio": value}, ("audio",)))]
    known = [cast("Mapping[str, Any]", turn) for turn in turns if isinstance(turn, Mapping)]
    if not paths or any(audio_of(turn) for turn in known):
        return turns
    marked = [turn for turn in known if PLACEHOLDER.search(text_of(turn) or "")]
    spoken = [turn for turn in known if fields.get_role(turn, ROLE) != "system"]
    if len(marked) == len(paths):
        owners = dict(zip(map(id, marked), paths, strict=True))
    elif len(paths) == 1 and all(get_segment(turn).placed for turn in spoken):
        owners = dict.fromkeys(map(id, spoken), paths[0])
    else:
        raise ValueError(
            f"its audio {paths[0]!r} belongs to no turn: the text of one turn for each file must be `<audio>`, or "
            "every turn must state its segment"
        )
    return [_own(turn, owners[id(turn)]) if id(turn) in owners else turn for turn in turns]


def _own(turn: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return a turn with its audio.

    Raises:
        ValueError: its text is an instruction beside the mark of the audio.
    """
    text = text_of(turn) or ""
    if PLACEHOLDER.search(text) and not PLACEHOLDER.fullmatch(text):
        raise ValueError(f"text beside `<audio>` is not what is spoken, and a turn has no place for it: {text[:80]!r}")
    return {**turn, AUDIO[0]: path}


def turns_with_audio(
    records: Iterable[Mapping[str, Any] | str], base: Place
) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """Yield the turns that have audio of their own, with its URI."""
    for record in records:
        key = fields.first_of(TURNS, record)
        turns = record[key] if key and not isinstance(record, str) else None
        for turn in cast("list[Any]", turns) if isinstance(turns, list) else ():
            try:
                path = audio_of(turn) if isinstance(turn, Mapping) else None
                uri = locate(path, base)[0].uri if path else None
            except ValueError:  # the turn is a reject
                continue
            if uri:
                yield turn, uri
