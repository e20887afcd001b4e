import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitlang.errors import UnitlangError
from unitlang.units import MAX_RUN_FRAMES, RunEncoder, Runs, as_units, to_frames, to_runs

some_units = st.lists(st.integers(0, 3), max_size=60).map(lambda units: np.array(units, np.uint16))


def test_repeats_become_durations() -> None:
    runs = to_runs([7, 7, 7, 2, 7, 65_535, 65_535])
    assert runs.units_R.tolist() == [7, 2, 7, 65_535]
    assert runs.durations_R.tolist() == [3, 1, 1, 2]
    assert (runs.units_R.dtype, runs.durations_R.dtype) == (np.uint16, np.uint16)
    assert (len(runs), runs.num_frames) == (4, 7)


@given(some_units)
def test_frames_come_back(units: np.ndarray) -> None:
    runs = to_runs(units)
    assert np.array_equal(to_frames(runs), units)
    assert to_frames(runs).dtype == np.uint16
    assert not np.any(runs.units_R[1:] == runs.units_R[:-1])


@given(some_units, st.lists(st.integers(0, 60), max_size=6))
def test_blocks_do_not_matter(units: np.ndarray, cuts: list[int]) -> None:
    encoder = RunEncoder()
    for block in np.split(units, sorted(cuts)):
        encoder.add(block)
    runs, whole = encoder.finish(), to_runs(units)
    assert np.array_equal(runs.units_R, whole.units_R)
    assert np.array_equal(runs.durations_R, whole.durations_R)


@pytest.mark.parametrize(
    ("frames", "durations"),
    [
        (MAX_RUN_FRAMES, [MAX_RUN_FRAMES]),
        (MAX_RUN_FRAMES + 1, [MAX_RUN_FRAMES, 1]),
        (2 * MAX_RUN_FRAMES, [MAX_RUN_FRAMES, MAX_RUN_FRAMES]),
        (2 * MAX_RUN_FRAMES + 5, [MAX_RUN_FRAMES, MAX_RUN_FRAMES, 5]),
    ],
)
def test_a_run_longer_than_a_duration_is_split(frames: int, durations: list[int]) -> None:
    encoder = RunEncoder()
    encoder.add([1])
    for start in range(0, frames, 10_000):
        encoder.add(np.full(min(10_000, frames - start), 4, np.uint16))
    encoder.add([1])
    runs = encoder.finish()
    assert runs.units_R.tolist() == [1, *[4] * len(durations), 1]
    assert runs.durations_R.tolist() == [1, *durations, 1]
    assert runs.num_frames == frames + 2
    assert len(to_frames(runs)) == frames + 2


@pytest.mark.parametrize("units", [[[1, 2]], [1.5], [-1], [65_536], ["a"]])
def test_what_is_no_row_of_units_is_refused(units: list[object]) -> None:
    with pytest.raises(UnitlangError, match="units must"):
        as_units(units)  # pyright: ignore[reportArgumentType]


def test_durations_must_match_units() -> None:
    with pytest.raises(UnitlangError, match="2 units but 1 durations"):
        Runs(np.array([1, 2], np.uint16), np.array([1], np.uint16))
