"""Speech to one feature vector per frame.

A module here that defines an `ExtractorConfig` registers a `kind` of features by being there.
"""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from unitlang.features.base import ExtractorConfig, FeatureExtractor, as_array
from unitlang.features.hubert import HubertConfig, HubertExtractor
from unitlang.features.mfcc import MfccConfig, MfccExtractor
from unitlang.registry import by_name, classes_in


def _kind(config: type[ExtractorConfig]) -> str:
    return str(config.model_fields["kind"].default)


EXTRACTORS: dict[str, type[ExtractorConfig]] = by_name(classes_in(__name__, __path__, ExtractorConfig), _kind)
"""Every kind of features and its config."""

if TYPE_CHECKING:
    FeaturesConfig = ExtractorConfig
else:
    FeaturesConfig = Annotated[Union[tuple(EXTRACTORS.values())], Field(discriminator="kind")]  # noqa: UP007
    """Config of any feature extractor; `kind` selects it."""

__all__ = [
    "EXTRACTORS",
    "ExtractorConfig",
    "FeatureExtractor",
    "FeaturesConfig",
    "HubertConfig",
    "HubertExtractor",
    "MfccConfig",
    "MfccExtractor",
    "as_array",
]
