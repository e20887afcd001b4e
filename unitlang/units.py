"""Convert units per frame to runs and back; a run is consecutive frames of one unit (deduplicated units).

A run is stored as its unit and its duration in frames.

Shapes: T = frames, R = runs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unitlang.errors import UnitlangError

MAX_RUN_FRAMES = 65_535
"""Longest run that a uint16 duration holds (22 minutes at 50 frames/s); longer ones are split."""

Uint16Array = NDArray[np.uint16]


def as_units(units: ArrayLike) -> Uint16Array:
    """Check that an array is one row of unit indices, and return it as uint16 (without a copy if it is).

    Raises:
        UnitlangError: not one-dimensional, not integers, or outside 0..65535.
    """
    array = np.asarray(units)
    if array.ndim == 1 and array.dtype == np.uint16:
        return array
    if array.ndim != 1:
        raise UnitlangError(f"units must be one-dimensional, not of shape {array.shape}: pass one utterance")
    if array.size == 0:
        return array.astype(np.uint16)
    if array.dtype.kind not in "iu":
        raise UnitlangError(f"units must be integers, not {array.dtype}")
    if int(array.min()) < 0 or int(array.max()) > np.iinfo(np.uint16).max:
        raise UnitlangError(f"units must lie in 0..65535, not {array.min()}..{array.max()}")
    return array.astype(np.uint16)


@dataclass(frozen=True, eq=False)
class Runs:
    """One utterance as runs.

    Attributes:
        units_R: the unit of each run. Neighbours differ, except where a run was split at `MAX_RUN_FRAMES`.
        durations_R: frames of each run, 1..`MAX_RUN_FRAMES`.

    Raises:
        UnitlangError: the numbers of units and of durations differ.
    """

    units_R: Uint16Array
    durations_R: Uint16Array

    def __post_init__(self) -> None:
        if self.units_R.shape != self.durations_R.shape:
            raise UnitlangError(f"{len(self.units_R)} units but {len(self.durations_R)} durations")

    def __len__(self) -> int:
        return len(self.units_R)

    @property
    def num_frames(self) -> int:
        """Frames of the utterance: the sum of the durations."""
        return int(self.durations_R.sum(dtype=np.int64))


class RunEncoder:
    """Encodes blocks of units as runs; memory grows with the runs, not the frames.

    The block boundaries do not affect the runs.
    """

    def __init__(self) -> None:
        self._units: list[Uint16Array] = []
        self._frames: list[NDArray[np.int64]] = []

    def add(self, units_T: ArrayLike) -> None:
        """Add the next block of units, one per frame; a block may be empty.

        Raises:
            UnitlangError: see `as_units`.
        """
        block_T = as_units(units_T)
        if not len(block_T):
            return
        starts_R = np.flatnonzero(np.concatenate(([True], block_T[1:] != block_T[:-1])))
        units_R = block_T[starts_R]
        frames_R = np.diff(starts_R, append=len(block_T))
        if self._units and self._units[-1][-1] == units_R[0]:  # the last run continues in this block
            self._frames[-1][-1] += frames_R[0]
            units_R, frames_R = units_R[1:], frames_R[1:]
        if len(units_R):
            self._units.append(units_R)
            self._frames.append(frames_R)

    def finish(self) -> Runs:
        """Return the runs of all blocks so far."""
        if not self._units:
            return Runs(np.empty(0, np.uint16), np.empty(0, np.uint16))
        return _split_long_runs(np.concatenate(self._units), np.concatenate(self._frames))


def _split_long_runs(units_R: Uint16Array, frames_R: NDArray[np.int64]) -> Runs:
    """Split runs so that every duration fits uint16: full runs first, the remainder last."""
    parts_R = -(-frames_R // MAX_RUN_FRAMES)
    last_parts_R = np.cumsum(parts_R) - 1
    durations = np.full(int(parts_R.sum()), MAX_RUN_FRAMES, np.uint16)
    durations[last_parts_R] = frames_R - (parts_R - 1) * MAX_RUN_FRAMES
    return Runs(np.repeat(units_R, parts_R), durations)


def to_runs(units_T: ArrayLike) -> Runs:
    """Return the runs of one utterance: deduplicate units that come one per frame.

    Raises:
        UnitlangError: see `as_units`.
    """
    encoder = RunEncoder()
    encoder.add(units_T)
    return encoder.finish()


def to_frames(runs: Runs) -> Uint16Array:
    """Return the units per frame, `units_T`, that the runs encode."""
    return np.repeat(runs.units_R, runs.durations_R)
