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
        if value is None or is_missing(value):  # most are None, and this runs for each field of each row
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float) or value in (math.inf, -math.inf):
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


def is_missing(value: Any) -> bool:
    """Return whether a value means that there is none: null, an empty text, or NaN, which pandas writes for it."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def get_number(record: Mapping[str, Any], name: str, unit: str, scale: float) -> int | None:
    """Return the field's number times `scale`, rounded; None if it is missing or empty.

    Args:
        record: the record.
        name: the field.
        unit: unit of the field, for messages.
        scale: what one unit counts in the result.

    Raises:
        ValueError: the value is not a number from 0 to that of `MAX_SECONDS`.
    """
    value = record.get(name)
    text = str(value) if isinstance(value, float) else get_text(record, (name,))  # NaN is no length: a fault
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"field {name!r} is not a number of {unit}: {text[:80]!r}") from None
    largest = MAX_SECONDS * SAMPLE_RATE / scale
    if not math.isfinite(number) or not 0 <= number <= largest:
        raise ValueError(f"field {name!r} is {text}, not a number of {unit} from 0 to {largest:.0f}")
    return round(number * scale)


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
        if not is_missing(value):
            return get_text(record, (name,))
    return None
