"""Old names of fields: read for one more release, with a warning that names the new ones."""

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from echox.errors import EchoxError

log = logging.getLogger(__name__)

NEW_NAMES: Mapping[str, str] = {
    "accumulate": "gradient_accumulation",
    "batch_length": "max_tokens",
    "feed_forward": "intermediate_size",
    "held_out": "valid_fraction",
    "max_answer": "max_new_tokens",
    "preset": "architecture",
    "text_width": "text_hidden_size",
    "width": "hidden_size",
}
"""New names of fields by their old ones, for settings, architectures and the training of deployments."""


def rename_fields(values: Any, source: str | None = None, names: Mapping[str, str] = NEW_NAMES) -> Any:
    """Return plain values in which every mapping, however deep, has the new names.

    Args:
        values: as read from YAML or JSON.
        source: where the values come from, for warnings; None for files that a program wrote, which need no warning.
        names: new names by old ones.

    Raises:
        EchoxError: a mapping has a field under both names.
    """
    if isinstance(values, list):
        return [rename_fields(value, source, names) for value in cast("list[Any]", values)]
    if not isinstance(values, Mapping):
        return values
    given = cast("Mapping[Any, Any]", values)
    renamed: dict[Any, Any] = {}
    for name, value in given.items():
        new = names.get(name, name)
        if new != name:
            _check_once(given, name, new, source)
        renamed[new] = rename_fields(value, source, names)
    return renamed


def rename_path(path: str, source: str) -> str:
    """Return a dotted path such as `data.max_tokens` with the new names of its fields."""
    new = ".".join(NEW_NAMES.get(name, name) for name in path.split("."))
    if new != path:
        warn_renamed(path, new, source)
    return new


@cache
def warn_renamed(old: str, new: str, source: str) -> None:
    """Log a warning, once in a process, that a name has changed."""
    log.warning("%s: %s is now called %s; the old name will be refused in the next release", source, old, new)


def _check_once(given: Mapping[Any, Any], old: str, new: str, source: str | None) -> None:
    if new in given:
        raise EchoxError(f"{source or 'values'}: {old} is the old name of {new}; give {new} alone")
    if source is not None:
        warn_renamed(old, new, source)
