"""The section `artifacts_from` of a config: versions of stores whose quantizer and unit language a build uses."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from pipelines.paths import ConfigPath
from storage.uris import split_version
from unitlang.config import FrozenConfig


def _with_version(corpus: str) -> str:
    """Refuse a store without a version: what its last one is changes with time."""
    if split_version(corpus)[1] is None:
        raise ValueError(f"names no version of a store; write {corpus}@1, for instance")
    return corpus


VersionPlace = Annotated[ConfigPath, AfterValidator(_with_version)]
"""STORE@VERSION; a relative path starts at the folder of the config file."""


class ArtifactsFrom(FrozenConfig):
    """Versions of stores that quantizer and unit language are taken from instead of being fitted."""

    quantizer: VersionPlace | None = None
    """STORE@VERSION whose quantizer is used."""
    unit_language: VersionPlace | None = None
    """STORE@VERSION whose unit language is used; it must belong to the quantizer."""

    def places(self) -> dict[str, str]:
        """STORE@VERSION by kind of artifact, the quantizer first."""
        found = {"quantizer": self.quantizer, "unit_language": self.unit_language}
        return {kind: place for kind, place in found.items() if place is not None}


def _both(values: Any) -> Any:
    return dict.fromkeys(ArtifactsFrom.model_fields, values) if isinstance(values, str) else values


ArtifactsPlace = Annotated[ArtifactsFrom, BeforeValidator(_both, json_schema_input_type=str | ArtifactsFrom)]
"""One STORE@VERSION for both artifacts, or one for each."""
