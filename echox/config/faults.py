"""Faults of a config in its author's terms: field, fault, remedy."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from unitlang.registry import nearest
from unitlang.urls import redacted

FieldPath = tuple[int | str, ...]
"""Names and, in lists, positions from 0."""

MAPPING = "must be a mapping: lines of `field: value`"
LIST = "must be a list, for instance [asr, tts]"
WORDS = {
    "missing": "is required",
    "invalid_key": "is not a field name",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text (in quotes, where it looks like something else)",
    "string_too_short": "must not be empty",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:.10g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "tuple_type": LIST,
    "model_type": MAPPING,
    "model_attributes_type": MAPPING,
}
"""Plain words for pydantic's types of errors."""
WITHOUT_VALUE = ("missing", "invalid_key")
"""Faults that do not lie in a value, so that messages do not repeat it."""
SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Fault:
    """A fault of a config.

    Attributes:
        field: the field, as written in the file.
        message: the fault, and the remedy.
        also: other fields that the fault depends on.
    """

    field: FieldPath
    message: str
    also: tuple[FieldPath, ...] = ()


@dataclass(frozen=True)
class Change:
    """A field changed by the command line.

    Attributes:
        text: the option as typed, e.g. `--set quantizer.k=500`.
        field: the changed field.
    """

    text: str
    field: FieldPath


def spelt(field: FieldPath) -> str:
    """Format a field like `sources[0].path`, as messages and `--set` write it."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in field)
    return "".join(parts).removeprefix(".")


def report(name: str, faults: Iterable[Fault], changes: Sequence[Change]) -> str:
    """Format all faults, one per line: those of the file under its name, those of the command line after the option."""
    in_file: list[str] = []
    typed: list[str] = []
    for fault in faults:
        change = _to_blame(fault, changes)
        if change is None:
            in_file.append(f"  {spelt(fault.field)}: {fault.message}")
        elif change.field == fault.field:
            typed.append(f"{change.text}: {fault.message}")
        else:
            typed.append(f"{change.text}: {spelt(fault.field)}: {fault.message}")
    return redacted("\n".join([*([f"{name}:"] if in_file else []), *in_file, *typed]))


def _to_blame(fault: Fault, changes: Sequence[Change]) -> Change | None:
    """Return the last change of the field, of a parent of it, or of a field that the fault depends on."""
    for field in (fault.field, *fault.also):
        for change in reversed(changes):
            if field[: len(change.field)] == change.field:
                return change
    return None


def faults_of(
    error: ValidationError,
    model: type[BaseModel],
    values: Mapping[str, Any],
    remedies: Mapping[FieldPath, str] = MappingProxyType({}),
) -> Iterator[Fault]:
    """Yield the faults of values that do not fit `model`.

    Args:
        error: pydantic's error.
        model: the model of the whole config.
        values: the values, as written.
        remedies: messages for fields about which pydantic's type of the error says too little.
    """
    for details in error.errors():
        if _follows(details):
            continue
        fault = _fault(details, model, values)
        yield replace(fault, message=remedies.get(fault.field, fault.message))


def _follows(details: ErrorDetails) -> bool:
    """Return whether an error only states that a list is empty without its faulty entries."""
    return details["type"] == "too_short" and len(details["input"]) > 0


def _fault(details: ErrorDetails, model: type[BaseModel], values: Mapping[str, Any]) -> Fault:
    field = _as_written(details["loc"], values)
    if details["type"] == "extra_forbidden":
        known = {name for parent in _models_at(model, details["loc"][:-1]) for name in parent.model_fields}
        return Fault(field, f"is not a field here; {nearest(str(field[-1]), known)}")
    if details["type"] in ("union_tag_invalid", "union_tag_not_found"):
        known = {str(parent.model_fields["kind"].default) for parent in _models_at(model, details["loc"])}
        return Fault((*field, "kind"), _unknown_kind(details, known))
    return Fault(field, _message(details))


def _message(details: ErrorDetails) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    message = WORDS[kind].format(**context) if kind in WORDS else details["msg"].removeprefix("Value error, ")
    if kind in WITHOUT_VALUE or isinstance(value, (dict, list, tuple)):
        return message
    return f"{message} (it is {'empty' if value in (None, '') else redacted(repr(value))[:SHOWN_CHARACTERS]})"


def _unknown_kind(details: ErrorDetails, known: set[str]) -> str:
    if details["type"] == "union_tag_not_found":
        return f"is required: {', '.join(sorted(known))}"
    kind = str(details["input"]["kind"])
    return f"is {kind!r}; {nearest(kind, known)}"


def _as_written(loc: FieldPath, values: Any) -> FieldPath:
    """Return the field as written in the file, without the `kind` that pydantic inserts."""
    field: list[int | str] = []
    for part in loc:
        if isinstance(values, dict) and part not in values and values.get("kind") == part:
            continue
        field.append(part)
        if isinstance(values, dict):
            values = values.get(part)
        else:
            values = values[int(part)] if isinstance(values, list) else None
    return tuple(field)


def _models_at(model: type[BaseModel], loc: FieldPath) -> list[type[BaseModel]]:
    """Return the models that are possible at a location that pydantic reports."""
    found = [model]
    for part in loc:
        of_kind = [m for m in found if "kind" in m.model_fields and m.model_fields["kind"].default == part]
        if of_kind:
            found = of_kind
        elif isinstance(part, str):
            fields = [m.model_fields[part] for m in found if part in m.model_fields]
            found = [inner for field in fields for inner in _models_in(field.annotation)]
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
