"""Frame grids: frames of a length, the least length of frames, and what is no grid."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitlang.errors import UnitlangError
from unitlang.frames import HUBERT_GRID, FrameGrid


def test_huberts_grid() -> None:
    lengths = {0: 0, 399: 0, 400: 1, 719: 1, 720: 2, 16_000: 49, 16_080: 50}
    assert {samples: HUBERT_GRID.num_frames(samples) for samples in lengths} == lengths
    assert (HUBERT_GRID.frame_seconds, HUBERT_GRID.frames_per_second, HUBERT_GRID.seconds(150)) == (0.02, 50, 3)
    assert FrameGrid(hop=640, view=720).frames_per_second == 25


@given(st.integers(1, 2_000), st.integers(1, 2_000), st.integers(0, 100))
def test_the_least_samples_give_the_frames(hop: int, view: int, frames: int) -> None:
    grid = FrameGrid(hop, view)
    samples = grid.num_samples(frames)
    assert grid.num_frames(samples) == frames
    assert samples == 0 or grid.num_frames(samples - 1) == frames - 1
    assert FrameGrid.from_dict(json.loads(json.dumps(grid.to_dict()))) == grid


@pytest.mark.parametrize("values", [{"hop": 0, "view": 400}, {"hop": 320, "view": 4.5}, {"hop": True, "view": 1}])
def test_no_positive_whole_numbers(values: dict[str, Any]) -> None:
    with pytest.raises(UnitlangError, match="positive whole numbers"):
        FrameGrid.from_dict(values)


@pytest.mark.parametrize("values", [None, 320, [320, 400], {}, {"hop": 320}, {"hop": 320, "view": 400, "rate": 50}])
def test_other_fields(values: object) -> None:
    with pytest.raises(UnitlangError, match="has the fields hop and view"):
        FrameGrid.from_dict(values)
