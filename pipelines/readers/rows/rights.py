"""Statements of rows about the licence, attribution, consent and origin of a recording.

These facts never make a reject: a value that is no plain text is kept as JSON.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from typing_extensions import TypedDict

from pipelines.readers.rows.names import ACCEPTED, spelled
from unitlang.urls import redacted


class Rights(TypedDict):
    """Facts about the rights on a recording, as its source states them; secrets in URLs are hidden."""

    licence: str | None
    attribution: str | None
    consent: str | None
    source_url: str | None


@lru_cache(maxsize=1024)
def rights_columns(names: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """The columns among these that hold each fact, best first."""
    return {fact: spelled(accepted, names) for fact, accepted in ACCEPTED.items()}


def get_rights(*records: Mapping[str, Any]) -> Rights:
    """Return the facts that records state; the first record and the first column with a value count."""
    found: dict[str, str | None] = dict.fromkeys(ACCEPTED)
    for record in records:
        for fact, columns in rights_columns(tuple(record)).items():
            values = (_said(record[column]) for column in columns)
            found[fact] = found[fact] or next(filter(None, values), None)
    return cast(Rights, found)


def _said(value: Any) -> str | None:
    """Return a value as a text, or None if it says nothing."""
    value = value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
    if value is None or value in ("", [], {}) or value != value:  # the last one: NaN
        return None
    if isinstance(value, str):
        return redacted(value.strip() if _is_storable(value) else json.dumps(value)) or None
    if isinstance(value, list) and all(isinstance(part, str) for part in cast("list[Any]", value)):
        return "; ".join(filter(None, map(_said, cast("list[str]", value)))) or None
    return redacted(json.dumps(value, default=str, ensure_ascii=True))


def _is_storable(text: str) -> bool:
    """Return whether a text can be stored as UTF-8 and shown: without lone surrogates and NUL."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
