"""Values of a config: from a YAML file, and changes of single fields by the command line."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml

from echox.config.faults import Change
from echox.errors import EchoxError

NOT_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
"""Errors of PyYAML; the last four come from values that only look like a date, a number, ..., and from deep nesting."""
MERGE = "tag:yaml.org,2002:merge"
POSITION = re.compile(r"\[(\d+)\]")


def read_config(path: Path) -> dict[str, Any]:
    """Read the values of a config file.

    Raises:
        EchoxError: it cannot be read, is not YAML or not a mapping, or contains a key twice in one mapping.
    """
    try:
        values = read_yaml(path.read_text("utf-8"), f"{path}: ")
    except OSError as error:
        raise EchoxError(f"{path}: cannot read the config: {error.strerror}") from error
    except NOT_YAML as error:
        if isinstance(error, EchoxError):
            raise
        raise EchoxError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(values, dict):
        raise EchoxError(f"{path}: a config is a mapping with at least `store` and `sources`; see examples/sample.yaml")
    return cast("dict[str, Any]", values)


def apply_change(values: dict[str, Any], text: str) -> Change:
    """Set one field, `a.b=c` or `list[0].b=c`; `list.0.b` means the same.

    Raises:
        EchoxError: the change is malformed.
    """
    typed = f"--set {text}"
    path, equals, written = text.partition("=")
    if not equals or not path:
        raise EchoxError(f"{typed}: write field=value, for instance --set quantizer.k=500")
    try:
        value = read_yaml(written, f"{typed}: ")
    except NOT_YAML as error:
        if isinstance(error, EchoxError):
            raise
        raise EchoxError(f"{typed}: the value is not YAML: {error}") from error
    *parents, last = POSITION.sub(r".\1", path).split(".")
    place: Any = values
    field: list[int | str] = []
    for name in parents:
        field.append(_key(place, name, typed))
        place = _descend(place, field[-1])
        if not isinstance(place, (dict, list)):
            raise EchoxError(f"{typed}: {name} is a value, it has no fields")
    field.append(_key(place, last, typed))
    cast("dict[int | str, Any]", place)[field[-1]] = value
    return Change(typed, tuple(field))


def _descend(place: Any, key: int | str) -> Any:
    """Return the value of a key; first set it to an empty mapping if it is missing or has no value (`name:`)."""
    if isinstance(place, dict) and place.get(key) is None:
        place[key] = {}
    return place[key]


def _key(place: Any, name: str, typed: str) -> int | str:
    """Return the key of a mapping, or the position in a list."""
    if not isinstance(place, list):
        return name
    if not name.isdecimal() or int(name) >= len(place):
        raise EchoxError(f"{typed}: {name!r} is not a position in a list of {len(place)} (they count from 0)")
    return int(name)


def read_yaml(text: str, where: str) -> Any:
    """Parse a YAML text.

    Raises:
        EchoxError: a mapping contains a key twice, of which YAML readers silently keep the last; starts with `where`.
        yaml.YAMLError and the others of `NOT_YAML`: the text is not valid.
    """
    loader = yaml.SafeLoader(text)
    loader.name = where.rstrip(": ")  # shown in PyYAML's messages
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if repeated := sorted(_repeated_keys(node)):
            lines = (f"line {line}: `{key}` is already in line {first}" for line, key, first in repeated)
            raise EchoxError(f"{where}{'; '.join(lines)}. Keep one of them.")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _repeated_keys(root: yaml.Node) -> Iterator[tuple[int, str, int]]:
    """Yield line, key and line of the first occurrence, of each repeated key of a mapping."""
    waiting = [root]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield from _repeated_in(node)
            waiting += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _repeated_in(mapping: yaml.MappingNode) -> Iterator[tuple[int, str, int]]:
    lines: dict[str, int] = {}
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
            continue
        line = key.start_mark.line + 1
        if key.value in lines:
            yield line, key.value, lines[key.value]
        lines.setdefault(key.value, line)
