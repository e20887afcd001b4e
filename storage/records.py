"""JSON files of a store: written with a checksum of their own values, and read with a check of values and types."""

import json
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from storage.errors import RESTORE, CorruptStore

T = TypeVar("T")

CHECKSUM = "checksum"
"""Field with the SHA-256 of the other fields, as `to_json` writes them. Files of earlier versions have none."""


def to_json(values: Mapping[str, Any]) -> bytes:
    """Format values as JSON for people and programs: sorted, indented, the same bytes for the same values."""
    return (json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sealed(values: Mapping[str, Any]) -> bytes:
    """Format values with their checksum."""
    return to_json({**values, CHECKSUM: _digest(values)})


def read_object(data: bytes, url: str, remedy: str = RESTORE) -> dict[str, Any]:
    """Values of a JSON object.

    Args:
        data: the file.
        url: its URL, for messages.
        remedy: what a person can do, for messages.

    Raises:
        CorruptStore: it is no JSON object.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptStore(f"{url}: no JSON ({_line(error)}); {remedy}") from error
    if not isinstance(values, dict):
        raise CorruptStore(f"{url}: no JSON object; {remedy}")
    return values


def read_sealed(data: bytes, url: str, names: Collection[str], remedy: str = RESTORE) -> dict[str, Any]:
    """Values of a JSON object that `sealed` wrote, without the checksum, or of an earlier one that has none.

    Args:
        data: the file.
        url: its URL, for messages.
        names: the possible fields; one changed letter in the name of the checksum must not pass as an earlier file.
        remedy: what a person can do, for messages.

    Raises:
        CorruptStore: it is no JSON object, a value was changed, or a field has another name.
    """
    values = read_object(data, url, remedy)
    written = values.pop(CHECKSUM, None)
    if unknown := sorted(values.keys() - names):
        raise CorruptStore(f"{url}: not the file that was written (unknown field {unknown[0]!r}); {remedy}")
    try:
        changed = written is not None and written != _digest(values)
    except (ValueError, RecursionError):  # NaN, for instance
        changed = True
    if changed:
        raise CorruptStore(f"{url}: not the file that was written (its checksum differs); {remedy}")
    return values


def typed(kind: TypeAdapter[T], values: object, url: str, remedy: str = RESTORE) -> T:
    """Values as an object of a type.

    Args:
        kind: the type.
        values: JSON values.
        url: URL of their file, for messages.
        remedy: what a person can do, for messages.

    Raises:
        CorruptStore: a field is missing or has another type; the message names the first such field.
    """
    try:
        return kind.validate_python(values)
    except (ValidationError, RecursionError) as error:
        raise CorruptStore(f"{url}: not the file that was written ({_line(error)}); {remedy}") from error


def _digest(values: Mapping[str, Any]) -> str:
    return sha256(to_json(values)).hexdigest()


def _line(error: Exception) -> str:
    """One line for a person."""
    if isinstance(error, RecursionError):
        return "too deep"
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"field {'.'.join(map(str, first['loc'])) or '-'}: {first['msg']}"
    return " ".join(str(error).split())
