"""Speech to one feature vector per 20 ms frame: MFCC or a layer of a HuBERT model."""

from typing import Annotated

from pydantic import Field

from unitlang.features.base import FeatureExtractor, as_array
from unitlang.features.hubert import HubertConfig, HubertExtractor, fingerprint_hubert, resolve_precision
from unitlang.features.mfcc import MfccConfig, MfccExtractor, fingerprint_mfcc

FeaturesConfig = Annotated[MfccConfig | HubertConfig, Field(discriminator="kind")]
"""Config of any feature extractor; `kind` tells which."""

__all__ = [
    "FeatureExtractor",
    "FeaturesConfig",
    "HubertConfig",
    "HubertExtractor",
    "MfccConfig",
    "MfccExtractor",
    "as_array",
    "fingerprint_features",
    "load_extractor",
    "resolve_precision",
]


def fingerprint_features(config: FeaturesConfig) -> str:
    """SHA-256 (hex) of all that the features depend on; reads the checkpoint's bytes but imports no torch.

    Raises:
        UnitlangError: the checkpoint is missing, or must be downloaded and that was not asked for.
    """
    if isinstance(config, MfccConfig):
        return fingerprint_mfcc(config)
    return fingerprint_hubert(config)


def load_extractor(config: FeaturesConfig, device: str = "cpu") -> FeatureExtractor:
    """Make the extractor that `config` describes.

    Args:
        config: which features.
        device: torch's name of where a model runs; MFCC always runs on the CPU.

    Raises:
        UnitlangError: the checkpoint is missing, is not a HuBERT model, or has no such layer.
    """
    if isinstance(config, MfccConfig):
        return MfccExtractor(config)
    return HubertExtractor(config, device)
