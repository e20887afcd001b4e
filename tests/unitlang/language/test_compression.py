import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitlang.errors import UnitlangError
from unitlang.frames import HUBERT_GRID, FrameGrid
from unitlang.language.compression import CompressionStats

LENGTHS = np.array([0, 1, 1, 2, 3], np.int32)


def stats_of(words: list[int], frames_per_run: int = 2, grid: FrameGrid = HUBERT_GRID) -> CompressionStats:
    words_W = np.array(words, np.int32)
    runs = int(LENGTHS[words_W].sum())
    return CompressionStats.of(runs * frames_per_run, runs, words_W, LENGTHS, grid)


def test_ratios_say_what_they_compare() -> None:
    stats = stats_of([1, 3, 3, 4])  # 8 runs, 16 frames
    assert stats.seconds == 0.32
    assert stats.frames_per_second == 50
    assert stats.runs_per_second == 25
    assert stats.words_per_second == 12.5
    assert (stats.total_ratio, stats.dedup_ratio, stats.unit_language_ratio) == (4, 2, 2)
    assert stats.word_length_histogram == [0, 1, 2, 1]
    assert stats.vocabulary_use == 0.75
    assert stats.bits_per_word == 1.5
    assert stats.bits_per_second == 18.75


def test_seconds_and_rates_are_those_of_the_grid() -> None:
    stats = stats_of([1, 3, 3, 4], grid=FrameGrid(640, 720))  # 16 frames
    assert stats.seconds == 0.64
    assert stats.frames_per_second == 25
    assert (stats.runs_per_second, stats.words_per_second) == (12.5, 6.25)
    assert (stats.total_ratio, stats.dedup_ratio) == (4, 2)  # ratios have no seconds
    again = CompressionStats.from_dict(json.loads(json.dumps((stats + stats).to_dict())))
    assert (again.grid, again.frames_per_second) == (FrameGrid(640, 720), 25)
    with pytest.raises(UnitlangError, match=r"hop 640, view 720 samples and hop 320, view 400 samples"):
        _ = stats + stats_of([1])


def test_counts_without_a_grid_are_on_huberts() -> None:
    values = stats_of([1, 3]).to_dict()
    del values["grid"]
    assert CompressionStats.from_dict(values).grid == HUBERT_GRID
    with pytest.raises(UnitlangError, match="positive whole numbers"):
        CompressionStats.from_dict(values | {"grid": {"hop": 0, "view": 400}})


def test_nothing_is_zero_and_not_an_error() -> None:
    stats = stats_of([])
    for value in (stats.total_ratio, stats.dedup_ratio, stats.words_per_second, stats.bits_per_word):
        assert value == 0
        assert math.copysign(1, value) == 1


@given(st.lists(st.lists(st.integers(1, 4), max_size=8), max_size=6), st.randoms())
def test_sums_are_exact_in_any_order(batches: list[list[int]], random: np.random.Generator) -> None:
    whole = stats_of([word for batch in batches for word in batch]).to_dict()
    random.shuffle(batches)
    merged = sum(map(stats_of, batches), start=stats_of([]))
    assert merged.to_dict() == whole


@given(st.lists(st.integers(1, 4), max_size=20))
def test_json_round_trip(words: list[int]) -> None:
    stats = stats_of(words)
    again = CompressionStats.from_dict(json.loads(json.dumps(stats.to_dict())))
    assert again.to_dict() == stats.to_dict()
    assert again.bits_per_second == stats.bits_per_second


def test_words_that_cannot_be_are_refused() -> None:
    with pytest.raises(UnitlangError, match="5 units, but there are 6 runs"):
        CompressionStats.of(9, 6, np.array([3, 4]), LENGTHS)
    with pytest.raises(UnitlangError, match="word 5 is not in a vocabulary of 5"):
        CompressionStats.of(9, 6, np.array([5]), LENGTHS)
    with pytest.raises(UnitlangError, match="different unit languages"):
        _ = stats_of([1]) + CompressionStats.of(0, 0, np.empty(0, np.int32), LENGTHS[:3])
