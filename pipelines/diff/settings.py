"""Settings of the builds of two versions that differ."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from typing_extensions import TypedDict

from pipelines.build.commit import recorded_config
from pipelines.config.build import BuildConfig
from storage.versions import Version


class Setting(TypedDict):
    """Values of a field of the config; None if a version has no such field, or for null."""

    before: Any
    after: Any


def setting_changes(before: Version, after: Version) -> dict[str, Setting]:
    """Return the fields of the config that differ, by name: `quantizer.k`, or `sources.DATASET.path`.

    A field that did not exist when a version was built has the default that it was given later.
    """
    old, new = (dict(_fields(_config(version))) for version in (before, after))
    return {
        name: Setting(before=old.get(name), after=new.get(name))
        for name in [*old, *(name for name in new if name not in old)]
        if old.get(name) != new.get(name)
    }


def _config(version: Version) -> Mapping[str, Any]:
    """The config with all fields of today, or as it was written if it is none of today."""
    try:
        return recorded_config(BuildConfig.model_validate({**version.config, "store": version.store}))
    except ValidationError:
        return version.config


def _fields(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield name and value of each field; sources are named after their datasets, their second one `DATASET[2]`."""
    for name, value in values.items():
        if name == "sources" and not prefix:
            seen: Counter[str] = Counter()
            for source in value:
                dataset = source["dataset"]
                seen[dataset] += 1
                number = f"[{seen[dataset]}]" if seen[dataset] > 1 else ""
                yield from _fields(source, f"sources.{dataset}{number}.")
        elif isinstance(value, Mapping):
            yield from _fields(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
