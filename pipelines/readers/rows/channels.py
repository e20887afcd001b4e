"""The channel that a row or record states."""

from collections.abc import Mapping
from typing import Any, cast

from pipelines.readers.rows.fields import is_missing
from pipelines.readers.rows.names import CHANNEL, is_channel, spelled

SIDES = {"left": 0, "l": 0, "a": 0, "right": 1, "r": 1, "b": 1}
"""Channels by their names in tables of telephone calls, in any case."""
MOST = 1_000


def get_channel(record: Mapping[str, Any]) -> int | None:
    """Return the channel that a record states, from 0; None if it states none (a name such as `BBC` is none).

    Raises:
        ValueError: the value is a number or list, but not one channel; the message names the field.
    """
    for name in spelled(CHANNEL, record):
        value = record[name]
        if isinstance(value, list | tuple) and len(cast("list[Any]", value)) == 1:
            value = cast("list[Any]", value)[0]  # as lhotse writes a channel
        if not is_missing(value) and is_channel(name, value):
            return _parse(name, str(value).strip().lower())
    return None


def _parse(name: str, text: str) -> int:
    whole = text.removesuffix(".0")
    if whole.isascii() and whole.isdigit() and int(whole) < MOST:
        return int(whole)
    if text in SIDES:
        return SIDES[text]
    raise ValueError(f"field {name!r} is {text[:80]!r}, not one channel: a whole number from 0, or {', '.join(SIDES)}")
