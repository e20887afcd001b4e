"""Take quantizer and unit language from versions of other stores, as `artifacts_from` of a config says.

The version that a build starts from remembers the place. While the config names the same one, the other store is not
opened again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from pipelines.config.artifacts_from import ArtifactsFrom
from pipelines.config.build import BuildConfig
from pipelines.errors import UserError
from pipelines.records import CameWith, check_made
from pipelines.steps.fit_quantizer import parse_features, quantizer_card
from storage.artifacts import ArtifactRef, get_artifact, put_artifact
from storage.errors import StorageError, Unavailable
from storage.store import Store
from storage.uris import Bucket, parse_uri, split_version
from storage.versions import Version, resolve

SECTIONS: Mapping[str, tuple[str, ...]] = {"quantizer": ("features", "quantizer"), "unit_language": ("unit_language",)}
"""Sections of the config that say how an artifact is made, by kind of artifact."""


@dataclass
class Given:
    """Artifacts that a build begins with, besides its parent version.

    Attributes:
        config: the config, with the settings of the artifacts that are taken.
        artifacts: the artifacts that are taken, by kind; the store of the build has them.
        specs: fingerprints of their configurations.
        origins: the version and speech that each was fitted for; None = the other store does not record it.
    """

    config: BuildConfig
    artifacts: dict[str, ArtifactRef] = field(default_factory=dict[str, ArtifactRef])
    specs: dict[str, str] = field(default_factory=dict[str, str])
    origins: dict[str, CameWith | None] = field(default_factory=dict[str, "CameWith | None"])


def take(config: BuildConfig, store: Store, parent: Version | None) -> Given:
    """Take the artifacts that the config asks for, and copy those that the store lacks.

    Args:
        config: configuration of the build.
        store: the corpus.
        parent: its last version.

    Raises:
        UserError: another store or its version cannot be read, the config asks for other settings than those of an
            artifact, or the corpus has another artifact and `refit` is not set.
        Unavailable: another store does not answer.
        StorageError: the store cannot be written.
    """
    given = Given(config)
    places = config.artifacts_from.places() if config.artifacts_from else {}
    found = {kind: _holder(kind, place, store, parent) for kind, place in places.items()}
    faults = [fault for kind, holder in found.items() for fault in _faults(config, kind, places[kind], *holder, parent)]
    if faults:
        raise UserError("\n".join(faults))
    for kind, (source, version) in found.items():
        ref = version.artifact(kind)
        if source.uri != store.uri:
            put_artifact(store, kind, ref.fingerprint, _read(source, ref))
        given.artifacts[kind] = ref
        given.specs[kind] = version.lineage["specs"][kind]
        given.origins[kind] = _origin(version, kind)
        given.config = given.config.model_copy(update=_settings(given.config, version, kind))
    return given


def _holder(kind: str, place: str, store: Store, parent: Version | None) -> tuple[Store, Version]:
    """The version to take an artifact from: the parent if it was taken from the same place, otherwise the other one."""
    if parent is not None and _canonical(place) == _recorded(parent).get(kind):
        return store, parent
    try:
        source, version = resolve(place)
        return source, check_made(source, version)
    except Unavailable:
        raise
    except StorageError as error:
        raise UserError(f"artifacts_from.{kind}: {error}") from error


def _recorded(version: Version) -> dict[str, str]:
    """The places that the artifacts of a version were taken from, by kind."""
    values = version.config.get("artifacts_from")
    places = ArtifactsFrom.model_validate(values).places() if values else {}
    return {kind: _canonical(place) for kind, place in places.items()}


def _canonical(corpus: str) -> str:
    """STORE@VERSION in one spelling."""
    place, number = split_version(corpus)
    parsed = parse_uri(place)
    return f"{parsed.uri if isinstance(parsed, Bucket) else parsed}@{number}"


def _read(source: Store, ref: ArtifactRef) -> dict[str, bytes]:
    try:
        return get_artifact(source, ref.kind, ref.fingerprint)
    except Unavailable:
        raise
    except StorageError as error:
        raise UserError(f"artifacts_from.{ref.kind}: {error}") from error


def _faults(
    config: BuildConfig, kind: str, place: str, source: Store, version: Version, parent: Version | None
) -> Iterator[str]:
    """Yield a line for each field of the config that contradicts the artifact, and for another one in the corpus."""
    remedy = f"leave it out, or do not take the {kind} from there (artifacts_from.{kind})"
    for name in SECTIONS[kind]:
        for path, mine, theirs in _differences(config, name, source, version):
            yield f"{path}: {mine!r}, but the {kind} of {place} was made with {theirs!r}; {remedy}"
    wanted = version.artifact(kind).fingerprint
    held = parent.artifact(kind).fingerprint if parent else wanted
    if held != wanted and not config.refit:
        yield (
            f"artifacts_from.{kind}: the corpus {config.store} has the {kind} {held}, and {place} has {wanted}; set "
            "`refit: true` to make the corpus anew with that one, or build into a new store"
        )


def _differences(
    config: BuildConfig, section: str, source: Store, version: Version
) -> Iterator[tuple[str, object, object]]:
    """Yield name and both values of each field that the config sets otherwise than the version of an artifact."""
    if section not in config.model_fields_set:
        return
    mine: BaseModel = getattr(config, section)
    theirs = _section(config, version, section)
    if section == "features":
        card = quantizer_card(source, version.artifact("quantizer").fingerprint)
        if config.features.fingerprint() == card["features_fingerprint"]:
            return  # the model may lie elsewhere
        yield section, mine.model_dump(mode="json"), card["features"]
        return
    for name in sorted(mine.model_fields_set):
        if getattr(mine, name) != getattr(theirs, name):
            yield f"{section}.{name}", getattr(mine, name), getattr(theirs, name)


def _settings(config: BuildConfig, version: Version, kind: str) -> dict[str, Any]:
    """The sections of a config, as those of the version that an artifact is taken from; a stated extractor stays."""
    return {
        name: _section(config, version, name)
        for name in SECTIONS[kind]
        if name != "features" or name not in config.model_fields_set
    }


def _section(config: BuildConfig, version: Version, name: str) -> BaseModel:
    values = version.config[name]
    return parse_features(values) if name == "features" else type(getattr(config, name)).model_validate(values)


def _origin(version: Version, kind: str) -> CameWith | None:
    """The origin of the artifact of a version, with the store that it was fitted in."""
    came: CameWith | None = version.lineage.get("came_with", {}).get(kind)
    return came if came is None or "corpus" in came else {**came, "corpus": version.store}
