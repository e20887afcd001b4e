"""Base classes of feature extractors and of their configs.

An extractor is one module of this package that defines one `ExtractorConfig` subclass; its presence registers it.
"""

# Shapes: N = samples at 16 kHz, T = frames, D = feature dims.

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from unitlang.config import FrozenConfig
from unitlang.errors import UnitlangError
from unitlang.frames import FrameGrid

FloatArray = NDArray[np.float32]
K = TypeVar("K", bound=Hashable)


class ExtractorConfig(FrozenConfig, ABC):
    """Config of a feature extractor, with everything that the rest of the program needs to know about its kind.

    Subclasses set `kind: Literal["..."] = "..."`, the name of the extractor in config files, and `speed`. Their modules
    do not import torch: configs are also read where nothing is computed.

    Attributes:
        speed: rough seconds of audio that one core processes per second; for planning.
        gains_by_gpu: whether the extractor is faster on a GPU.
    """

    speed: ClassVar[float]
    gains_by_gpu: ClassVar[bool] = False

    kind: Any  # each subclass narrows it to its own literal
    """Kind of features."""

    @classmethod
    def missing_files(
        cls,
        values: Mapping[str, Any],  # noqa: ARG003
        absolute: Callable[[str], str],  # noqa: ARG003
    ) -> Iterator[tuple[str, str]]:
        """Yield a field name and a message for each missing file that a config names.

        Args:
            values: the config as the user wrote it, unchecked.
            absolute: turns a path of the config into an absolute one.
        """
        yield from ()

    def settled(self, absolute: Callable[[str], str]) -> tuple[Self, str | None]:  # noqa: ARG002
        """Return the config that all workers share: absolute paths, and no choice left to a worker.

        Args:
            absolute: turns a path of the config into an absolute one.

        Returns:
            The config, and a line for the log if something was chosen.
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
        """Return the SHA-256 (hex) of everything that the features depend on.

        Reads the checkpoint's bytes but does not import torch.

        Raises:
            UnitlangError: the checkpoint is missing, or must be downloaded and `download` is not set.
        """

    @abstractmethod
    def load(self, device: str = "cpu") -> "FeatureExtractor":
        """Load the extractor.

        Args:
            device: torch's name of the device that the model runs on.

        Raises:
            UnitlangError: the checkpoint is missing, is not of this kind, or has no such layer.
        """


ConfigT = TypeVar("ConfigT", bound=ExtractorConfig)


class FeatureExtractor(Protocol):
    """Turns 16 kHz mono speech into one feature vector per frame of its grid."""

    @property
    def config(self) -> ExtractorConfig:
        """Config that the extractor was loaded from."""
        ...

    @property
    def grid(self) -> FrameGrid:
        """Positions of the frames on the waveform."""
        ...

    @property
    def dim(self) -> int:
        """D, values per frame."""
        ...

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of everything that the values depend on."""
        ...

    def stream(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """Yield the features of one utterance that comes in blocks of any size, in bounded memory.

        Args:
            blocks: waveform_N float32 arrays, 16 kHz mono.

        Yields:
            features_TD float32, `grid.num_frames(total samples)` frames in all; nothing if that is 0.

        Raises:
            UnitlangError: NaN or infinite samples or features.
        """
        ...

    def stream_many(self, utterances: Iterable[tuple[K, Iterable[FloatArray]]]) -> Iterator[tuple[K, Any]]:
        """Yield the features of many utterances, in batches if that is faster.

        Another thread may read the blocks.

        Args:
            utterances: a key and the blocks of each, as for `stream`.

        Yields:
            A key and features_TD of the next frames of its utterance, as an array or a tensor on the extractor's
                device. The frames of one utterance come in order, the utterances in any order.

        Raises:
            UnitlangError: as `stream`.
        """
        ...

    def extract(self, waveform_N: FloatArray) -> FloatArray:
        """Return features_TD of a whole utterance: the values that `stream` yields, in one array.

        Raises:
            UnitlangError: as `stream`.
        """
        ...


class Extractor(ABC):
    """Base class of extractors: a subclass sets the attributes and implements `stream` or both streams.

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
        """See `FeatureExtractor.stream_many`; for extractors that gain nothing by batches."""
        return ((key, features_TD) for key, blocks in utterances for features_TD in self.stream(blocks))

    def extract(self, waveform_N: FloatArray) -> FloatArray:
        """See `FeatureExtractor.extract`."""
        parts = list(self.stream([waveform_N]))
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)


class ModelExtractor(Extractor, Generic[ConfigT]):
    """Base class of extractors that run a model: a subclass loads it and implements `stream_many`.

    Args:
        config: the features to compute; the fingerprint of its checkpoint is taken at once.
    """

    def __init__(self, config: ConfigT) -> None:
        self.config = config
        self.grid = config.grid()
        self._fingerprint = config.fingerprint()

    def fingerprint(self) -> str:
        """See `FeatureExtractor.fingerprint`."""
        return self._fingerprint

    def stream(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """See `FeatureExtractor.stream`."""
        for _, features_TD in self.stream_many([(None, blocks)]):
            yield as_array(features_TD)

    @abstractmethod
    def stream_many(self, utterances: Iterable[tuple[K, Iterable[FloatArray]]]) -> Iterator[tuple[K, Any]]:
        """See `FeatureExtractor.stream_many`."""


def as_array(features_TD: Any) -> FloatArray:
    """Return features as `stream_many` yields them (array or tensor) as an array."""
    return features_TD if isinstance(features_TD, np.ndarray) else features_TD.cpu().numpy()


def not_finite(checkpoint: str) -> UnitlangError:
    """Return the error to raise for NaN or infinite features of a model; the sound has been checked."""
    return UnitlangError(f"{checkpoint}: its features of sound are NaN or infinite: is the checkpoint intact?")


def fingerprint_of(parts: Mapping[str, object]) -> str:
    """Return the SHA-256 (hex) of `parts` as canonical JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
