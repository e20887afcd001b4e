"""What every feature extractor offers, and the streaming that all of them share."""

# Shapes: N = samples at 16 kHz, T = frames, D = feature dims.

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from unitlang.errors import UnitlangError
from unitlang.features.windows import windows

if TYPE_CHECKING:
    from unitlang.features import FeaturesConfig

FloatArray = NDArray[np.float32]


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

    @property
    def speed(self) -> float:
        """Seconds of audio per CPU second on one core; a rough number to plan with."""
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

    def extract(self, waveform_N: FloatArray) -> FloatArray:
        """features_TD of a whole utterance: the values that `stream` yields, in one array."""
        ...


class WindowedExtractor(ABC):
    """Base of the extractors: a subclass computes one window, the base cuts them."""

    dim: int
    window_frames: int
    context_frames: int

    @abstractmethod
    def _compute(self, waveform_N: FloatArray) -> FloatArray:
        """features_TD of one window."""

    def stream(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """See `FeatureExtractor.stream`."""
        for window in windows(blocks, window_frames=self.window_frames, context_frames=self.context_frames):
            features_TD = self._compute(window.waveform_N)[window.first : window.last]
            if not np.isfinite(features_TD).all():
                raise UnitlangError("the feature extractor gave NaN or infinite values: is the checkpoint intact?")
            yield features_TD

    def extract(self, waveform_N: FloatArray) -> FloatArray:
        """See `FeatureExtractor.extract`."""
        parts = list(self.stream([waveform_N]))
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)


def fingerprint_of(parts: Mapping[str, object]) -> str:
    """SHA-256 (hex) of `parts` as canonical JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
