"""Bases of feature extractors and of their configs.

An extractor is one module of this package that defines one `ExtractorConfig` subclass; it is found by itself.
"""

# Shapes: N = samples at 16 kHz, T = frames, D = feature dims.

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from unitlang.config import FrozenConfig
from unitlang.errors import UnitlangError
from unitlang.frames import FrameGrid

FloatArray = NDArray[np.float32]
K = TypeVar("K", bound=Hashable)


class ExtractorConfig(FrozenConfig, ABC):
    """Config of a feature extractor, with all that the rest of the program needs to know about its kind.

    Subclasses set `kind: Literal["..."] = "..."`, the name of the extractor in config files, and `speed`. Their modules
    import no torch: configs are also read where nothing is computed.

    Attributes:
        speed: rough seconds of audio that one core processes in a second; for planning.
        gains_by_gpu: whether the extractor is faster on a GPU.
    """

    speed: ClassVar[float]
    gains_by_gpu: ClassVar[bool] = False

    kind: Any  # each subclass narrows it to its own literal
    """Which features."""

    @classmethod
    def missing_files(
        cls,
        values: Mapping[str, Any],  # noqa: ARG003
        absolute: Callable[[str], str],  # noqa: ARG003
    ) -> Iterator[tuple[str, str]]:
        """Yield a field and a message for each file that a config names and that is not there.

        Args:
            values: the config as the user wrote it, unchecked.
            absolute: turns a path of the config into an absolute one.
        """
        yield from ()

    def settled(self, absolute: Callable[[str], str]) -> tuple[Self, str | None]:  # noqa: ARG002
        """Return the config that all workers share: absolute paths, and nothing left for a worker to choose.

        Args:
            absolute: turns a path of the config into an absolute one.

        Returns:
            The config, and a line for the log where something was chosen.
        """
        return self, None

    @abstractmethod
    def grid(self) -> FrameGrid:
        """Return the frame grid; may read the checkpoint's config file.

        Raises:
            UnitlangError: the checkpoint is missing or unreadable.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all that the features depend on; reads the checkpoint's bytes but imports no torch.

        Raises:
            UnitlangError: the checkpoint is missing, or must be downloaded and that was not asked for.
        """

    @abstractmethod
    def load(self, device: str = "cpu") -> "FeatureExtractor":
        """Make the extractor.

        Args:
            device: torch's name of where a model runs.

        Raises:
            UnitlangError: the checkpoint is missing, is not of this kind, or has no such layer.
        """


class FeatureExtractor(Protocol):
    """Turns 16 kHz mono speech into one feature vector per frame of its grid."""

    @property
    def config(self) -> ExtractorConfig:
        """Config that the extractor was made from."""
        ...

    @property
    def grid(self) -> FrameGrid:
        """Where the frames lie on the waveform."""
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
            features_TD float32; frames add up to `grid.num_frames(total samples)`; nothing below one frame.

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
    """Base of the extractors: a subclass sets the attributes and implements `stream` or both streams.

    Attributes:
        grid: see `FeatureExtractor.grid`.
        dim: see `FeatureExtractor.dim`.
    """

    grid: FrameGrid
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
