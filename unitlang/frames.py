"""Frame grids: positions of an extractor's frames on a waveform at 16 kHz."""

from dataclasses import asdict, dataclass
from typing import Self

from unitlang.errors import UnitlangError

SAMPLE_RATE = 16_000
"""Samples per second of every waveform inside the project."""


@dataclass(frozen=True)
class FrameGrid:
    """The frame grid of an extractor, in samples at 16 kHz.

    Attributes:
        hop: samples between two frames.
        view: samples that the first frame needs.

    Raises:
        UnitlangError: `hop` or `view` is not a positive whole number.
    """

    hop: int
    view: int

    def __post_init__(self) -> None:
        if not all(type(value) is int and value > 0 for value in (self.hop, self.view)):
            raise UnitlangError(
                f"hop and view of a frame grid must be positive whole numbers of samples, got {self.hop!r} and "
                f"{self.view!r}"
            )

    def __str__(self) -> str:
        return f"hop {self.hop}, view {self.view} samples"

    def num_frames(self, num_samples: int) -> int:
        """Number of frames of a waveform of `num_samples` samples; 0 below `view`."""
        return max(0, (num_samples - self.view) // self.hop + 1)

    def num_samples(self, frames: int) -> int:
        """Least number of samples that give this many frames."""
        return (frames - 1) * self.hop + self.view if frames > 0 else 0

    @property
    def frame_seconds(self) -> float:
        """Seconds between two frames."""
        return self.hop / SAMPLE_RATE

    @property
    def frames_per_second(self) -> float:
        """Frames per second of speech."""
        return SAMPLE_RATE / self.hop

    def seconds(self, frames: int) -> float:
        """Length of this many frames in seconds, one hop each."""
        return frames * self.hop / SAMPLE_RATE

    def to_dict(self) -> dict[str, int]:
        """The grid as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """Return the grid of `to_dict`'s values.

        Raises:
            UnitlangError: `values` is not a mapping of `hop` and `view` to positive whole numbers.
        """
        if not isinstance(values, dict) or set(values) != {"hop", "view"}:
            raise UnitlangError(f"a frame grid has the fields hop and view, got {values!r}")
        return cls(values["hop"], values["view"])


HUBERT_GRID = FrameGrid(hop=320, view=400)
"""Grid of HuBERT (kernels 10,3,3,3,3,2,2 and strides 5,2,2,2,2,2,2; arXiv 2106.07447, sec. IV-A): 50 frames/s.

Cards and statistics without a grid use this one.
"""
