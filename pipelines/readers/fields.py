"""Common names of the fields of rows and records, and parsing of their values."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pipelines.readers.base import Task
from unitlang.frames import SAMPLE_RATE

MAX_SECONDS = 1e8
"""Largest offset or duration, three years: a larger one is a mistake and would overflow later."""

TEXT = ("text", "sentence", "transcription", "transcript", "normalized_text")
SPEAKER = ("speaker", "speaker_id", "client_id")
LANGUAGE = ("language", "lang", "locale")
ID = ("id", "utterance_id", "utt_id")

ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
}
"""Roles by the names that datasets use (in any case)."""


def first_of(names: Iterable[str], present: Iterable[str]) -> str | None:
    """Return the first of `names` that is present."""
    present = set(present)
    return next((name for name in names if name in present), None)


def get_text(record: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """Return the first non-empty value among the fields `names`, as a stripped string; None if there is none.

    Raises:
        ValueError: the value is not a string or number, or not valid Unicode; the message names the field.
    """
    for name in names:
        value = record.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"field {name!r} is not a text: {str(value)[:80]!r}")
        return check_text(name, str(value).strip()) or None
    return None


def check_text(name: str, text: str) -> str:
    """Return the text if it can be stored as UTF-8 and as a path.

    Raises:
        ValueError: it contains lone surrogates or NUL; the message names the field.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"field {name!r} holds half of a character (a lone surrogate)") from None
    if "\0" in text:
        raise ValueError(f"field {name!r} holds a NUL character")
    return text


def get_samples(record: Mapping[str, Any], name: str) -> int | None:
    """Convert the field's seconds to samples at 16 kHz, rounded; None if it is missing or empty.

    Raises:
        ValueError: the value is not a number of seconds from 0 to `MAX_SECONDS`.
    """
    text = get_text(record, (name,))
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"field {name!r} is not a number of seconds: {text[:80]!r}") from None
    if not math.isfinite(seconds) or not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"field {name!r} is {text}, not a number of seconds from 0 to {MAX_SECONDS:.0f}")
    return round(seconds * SAMPLE_RATE)


def get_segment(record: Mapping[str, Any]) -> tuple[int, int | None]:
    """Return offset and length (None = to the end) in samples at 16 kHz, from `offset`/`duration` or `start`/`end`.

    Raises:
        ValueError: a value is invalid or the segment is empty.
    """
    offset = get_samples(record, "offset")
    if offset is None:
        offset = get_samples(record, "start") or 0
    length = get_samples(record, "duration")
    end = get_samples(record, "end")
    if length is None and end is not None:
        length = end - offset
    if length is not None and length <= 0:
        raise ValueError(f"the segment is empty: {length} samples from sample {offset} on")
    return offset, length


def get_count(record: Mapping[str, Any], name: str) -> int | None:
    """Return the field as a whole number from 0; None if it is missing or empty.

    Raises:
        ValueError: the value is something else.
    """
    text = get_text(record, (name,))
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError(f"field {name!r} is {text[:80]!r}, not a whole number from 0")
    return int(text)


def get_role(record: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """Return `user`, `assistant` or `system`; None if no field states a role.

    Raises:
        ValueError: the role is not one of `ROLES`.
    """
    role = get_text(record, names)
    if role is None:
        return None
    if role.lower() not in ROLES:
        raise ValueError(f"unknown role {role[:80]!r}; known are {', '.join(ROLES)}")
    return ROLES[role.lower()]


def get_task(record: Mapping[str, Any], default: Task) -> Task:
    """Return the field `task`, or the default.

    Raises:
        ValueError: the task is not one of `Task`.
    """
    task = get_text(record, ("task",))
    for known in get_args(Task):
        if task == known:
            return known
    if task is not None:
        raise ValueError(f"field 'task' is {task[:80]!r}; known are {', '.join(get_args(Task))}")
    return default


def get_path(record: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """Return the audio's path: a string, or the `path` of a record; None if there is none.

    Raises:
        ValueError: the value is something else.
    """
    for name in names:
        value = record.get(name)
        if isinstance(value, Mapping):
            return get_text(value, ("path",))  # pyright: ignore[reportUnknownArgumentType]
        if value is not None and value != "":
            return get_text(record, (name,))
    return None
