"""The build's configuration: a YAML file, checked as a whole before any work starts."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from pipelines.errors import UserError
from pipelines.ingest import WorkUnitsConfig
from pipelines.paths import ConfigPath, absolute
from pipelines.readers import SourceConfig
from pipelines.session import RunConfig
from pipelines.shard import ShardsConfig
from unitlang.features import FeaturesConfig, MfccConfig, resolve_precision
from unitlang.quantizer import QuantizerConfig
from unitlang.unit_language import UnitLanguageConfig

logger = logging.getLogger(__name__)

NOT_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
"""What PyYAML raises: the others for values that look like a date, a number, ... and are none, and for deep nesting."""


class BuildConfig(BaseModel):
    """A corpus build: where speech is, what to make of it, where the corpus lives."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, title="EchoX corpus build")

    store: ConfigPath = Field(min_length=1)
    """Folder or s3:// URL of the corpus; a relative path is relative to the config file."""
    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    """Where the speech is."""
    features: FeaturesConfig = MfccConfig()
    """What k-means works on."""
    quantizer: QuantizerConfig = QuantizerConfig()
    """k-means: features to units."""
    unit_language: UnitLanguageConfig = UnitLanguageConfig()
    """Units to words."""
    shards: ShardsConfig = ShardsConfig()
    """Training shards."""
    work_units: WorkUnitsConfig = WorkUnitsConfig()
    """How utterances are grouped."""
    max_reject_ratio: float = Field(default=0.05, ge=0.0, le=1.0, allow_inf_nan=False)
    """The build fails before the commit when a larger share of all entries was rejected."""
    refit: bool = False
    """Fit quantizer and unit language anew on all speech, instead of keeping those of the last version."""
    run: RunConfig = RunConfig()
    """How the build runs; changes nothing in what it makes."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        faults = [*_vocabulary_faults(self), *_store_faults(self)]
        if faults:
            raise ValueError("\n  ".join(faults))
        return self


def load_config(path: Path, overrides: Sequence[str] = (), store: str | None = None) -> BuildConfig:
    """Read and check a config file.

    Args:
        path: the YAML file.
        overrides: `a.b=c` each; c is YAML.
        store: takes the place of the config's store; a relative path is relative to the current folder.

    Raises:
        UserError: all faults of the file together, each with its field.
    """
    values = _read(path)
    for override in overrides:
        apply_override(values, override)
    if store is not None:
        values["store"] = absolute(store, Path.cwd()) if store else store
    return check_config(values, str(path), path.parent.resolve())


def check_config(values: dict[str, Any], name: str, base: Path) -> BuildConfig:
    """Check values that came from the file `name`; relative paths are relative to `base`.

    Raises:
        UserError: all faults together.
    """
    try:
        config = BuildConfig.model_validate(values, context={"base": base})
    except ValidationError as error:
        faults = [fault for fault in error.errors() if not _follows(fault)]
        lines = "\n".join(f"  {_line(fault, values)}" for fault in faults)
        raise UserError(f"{name}:\n{lines}") from None
    return _with_models_settled(config, base)


def config_schema() -> str:
    """The JSON Schema of the config, for editors."""
    return json.dumps(BuildConfig.model_json_schema(), indent=1, sort_keys=True) + "\n"


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one field, `a.b=c`; a number in the path is a position in a list.

    Raises:
        UserError: for a malformed override.
    """
    field, equals, text = override.partition("=")
    if not equals or not field:
        raise UserError(f"--set {override}: write field=value, for instance --set quantizer.k=500")
    try:
        value = yaml.safe_load(text)
    except NOT_YAML as error:
        raise UserError(f"--set {override}: the value is not YAML: {error}") from error
    *parents, last = field.split(".")
    place: Any = values
    for name in parents:
        if isinstance(place, list):
            place = place[_position(place, name, override)]
        else:
            if place.get(name) is None:  # absent, or `name:` with nothing behind it
                place[name] = {}
            place = place[name]
        if not isinstance(place, (dict, list)):
            raise UserError(f"--set {override}: {name} is a value, it has no fields")
    if isinstance(place, list):
        place[_position(place, last, override)] = value
    else:
        place[last] = value


def _position(place: list[Any], name: str, override: str) -> int:
    if not name.isdecimal() or int(name) >= len(place):
        raise UserError(f"--set {override}: {name!r} is not a position in a list of {len(place)} (they count from 0)")
    return int(name)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot read the config: {error.strerror}") from error
    except NOT_YAML as error:
        raise UserError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: a config is a mapping with at least `store` and `sources`; see examples/sample.yaml")
    return values


def _follows(fault: ErrorDetails) -> bool:
    """Whether it only says that a list is empty once its faulty entries are left out."""
    return fault["type"] == "too_short" and len(fault["input"]) > 0


def _vocabulary_faults(config: BuildConfig) -> Iterator[str]:
    size, k = config.unit_language.vocab_size, config.quantizer.k
    if config.quantizer.centroids is None and size < k + 1:
        yield (
            f"unit_language.vocab_size: {size} words cannot hold `<unk>` and the {k} units of quantizer.k; "
            f"raise it to {k + 1} or more, or lower quantizer.k"
        )


def _store_faults(config: BuildConfig) -> Iterator[str]:
    stores = _spellings(config.store)
    for number, source in enumerate(config.sources):
        if any(store.startswith(folder) for store in stores for folder in _spellings(source.path)):
            yield (
                f"store: {config.store} lies inside sources[{number}].path ({source.path}), so that the next build "
                "would take the corpus for a part of its source; put it beside the source"
            )


def _spellings(uri: str) -> set[str]:
    """A folder as it is written and where links lead, each with a slash at the end; a URL as it is written."""
    path = uri.removeprefix("file://")
    found = {path} if "://" in path else {os.path.abspath(path), os.path.realpath(path)}  # noqa: PTH100
    return {name.rstrip("/") + "/" for name in found}


def _line(fault: ErrorDetails, values: dict[str, Any]) -> str:
    """Field and message; `_fits_together` names its fields itself."""
    field = _field(fault["loc"], values)
    return f"{field}: {_message(fault)}" if field else _message(fault)


def _field(loc: tuple[int | str, ...], values: Any) -> str:
    """The field as it stands in the file; pydantic adds the `kind` of what it is in."""
    field = ""
    for part in loc:
        if isinstance(values, dict) and part not in values and values.get("kind") == part:
            continue
        field += f"[{part}]" if isinstance(part, int) else f".{part}" if field else part
        if isinstance(values, dict):
            values = values.get(part)
        else:
            values = values[int(part)] if isinstance(values, list) else None
    return field


def _message(fault: ErrorDetails) -> str:
    """What is wrong, and what would be right where pydantic knows."""
    if fault["type"] == "missing":
        return "is required"
    if fault["type"] == "extra_forbidden":
        return "is not a field here; check its spelling against docs/build-config.schema.json"
    if fault["type"] == "union_tag_not_found":
        return "`kind` is required"
    message = fault["msg"].removeprefix("Value error, ")
    return message if isinstance(fault["input"], (dict, list, tuple)) else f"{message} (it is {fault['input']!r})"


def _with_models_settled(config: BuildConfig, base: Path) -> BuildConfig:
    """Absolute paths for the model files, and one precision for all workers."""
    features, quantizer = config.features, config.quantizer
    if features.kind == "hubert" and not features.download:
        features = features.model_copy(update={"checkpoint": absolute(features.checkpoint, base)})
    if features.kind == "hubert" and features.precision == "auto":
        features, reason = resolve_precision(features)
        logger.info("features.precision: auto is %s: %s", features.precision, reason)
    if quantizer.centroids is not None:
        quantizer = quantizer.model_copy(update={"centroids": absolute(quantizer.centroids, base)})
    return config.model_copy(update={"features": features, "quantizer": quantizer})


if __name__ == "__main__":
    print(config_schema(), end="")  # noqa: T201
