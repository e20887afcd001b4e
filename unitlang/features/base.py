"""What every feature extractor offers."""

# Shapes: N = samples at 16 kHz, T = frames, D = feature dims.

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from unitlang.errors import UnitlangError

if TYPE_CHECKING:
    from unitlang.features import FeaturesConfig

FloatArray = NDArray[np.float32]
K = TypeVar("K", bound=Hashable)


class FeatureExtractor(Protocol):
    """Turns 16 kHz mono speech into one feature vector per 20 ms frame."""

    @property
    def config(self) -> "FeaturesConfig":
        """What the extractor was made from."""
        ...

    @property
    def dim(self) -> int:
        """D, values per frame."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 (hex) of all that the values depend on."""
        ...

    def stream(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """Features of one utterance that comes in blocks of any size, in bounded memory.

        Args:
            blocks: waveform_N float32 arrays, 16 kHz mono.

        Yields:
            features_TD float32; frames add up to `num_frames(total samples)`, nothing below one frame.

        Raises:
            UnitlangError: NaN or infinite samples or features.
        """
        ...

    def stream_many(self, utterances: Iterable[tuple[K, Iterable[FloatArray]]]) -> Iterator[tuple[K, Any]]:
        """Features of many utterances, in batches where that is faster; the blocks may be read in another thread.

        Args:
            utterances: a key and the blocks of each, as `stream` takes them.

        Yields:
            A key and features_TD of the next frames of its utterance, as an array or a tensor on the extractor's
            device. One utterance's frames come in order, utterances in any.

        Raises:
            UnitlangError: as `stream`.
        """
        ...

    def extract(self, waveform_N: FloatArray) -> FloatArray:
        """features_TD of a whole utterance: the values that `stream` yields, in one array."""
        ...


class Extractor(ABC):
    """Base of the extractors."""

    dim: int

    @abstractmethod
    def stream(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """See `FeatureExtractor.stream`."""

    def stream_many(self, utterances: Iterable[tuple[K, Iterable[FloatArray]]]) -> Iterator[tuple[K, Any]]:
        """See `FeatureExtractor.stream_many`; one by one, for extractors that gain nothing by batches."""
        return ((key, features_TD) for key, blocks in utterances for features_TD in self.stream(blocks))

    def extract(self, waveform_N: FloatArray) -> FloatArray:
        """See `FeatureExtractor.extract`."""
        parts = list(self.stream([waveform_N]))
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)


def as_array(features_TD: Any) -> FloatArray:
    """What `stream_many` yields, as an array."""
    return features_TD if isinstance(features_TD, np.ndarray) else features_TD.cpu().numpy()


def not_finite() -> UnitlangError:
    """The error of an extractor that gave NaN or infinite values."""
    return UnitlangError("the feature extractor gave NaN or infinite values: is the checkpoint intact?")


def fingerprint_of(parts: Mapping[str, object]) -> str:
    """SHA-256 (hex) of `parts` as canonical JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
