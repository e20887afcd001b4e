from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.readers.rows.times import Segment, are_cut, get_segment

RATE = 16_000


@pytest.fixture
def two_seconds(tmp_path: Path) -> str:
    path = tmp_path / "two.wav"
    soundfile.write(path, np.zeros(2 * RATE, np.float32), RATE)
    return str(path)


def facts(record: dict[str, Any]) -> tuple[int, int | None, bool]:
    segment = get_segment(record)
    return segment.offset, segment.length, segment.native


@pytest.mark.parametrize(
    ("record", "offset", "length"),
    [
        ({"start_time": 0.5, "end_time": "1.25"}, 8_000, 12_000),
        ({"begin_time": 0.5, "duration": 1}, 8_000, 16_000),
        ({"offset_ms": 500, "duration_ms": 750}, 8_000, 12_000),
        ({"Start": "0.5", "End": ""}, 8_000, None),
        ({"end": 1}, 0, 16_000),
        ({"duration": 3}, 0, 48_000),
        ({"start": 1, "end_ms": 1500}, 16_000, 8_000),
        ({"start": 1, "end": 2, "duration": 1.05}, 16_000, 16_800),
        ({"start": 1, "end": 2, "start_sample": 8_000, "num_samples": 8_000}, 16_000, 16_000),
        ({"text": "x"}, 0, None),
    ],
)
def test_segments_in_seconds_and_milliseconds(record: dict[str, Any], offset: int, length: int | None) -> None:
    assert facts(record) == (offset, length, False)


@pytest.mark.parametrize(
    "record",
    [
        {"start_sample": 4_000, "end_sample": 10_000},
        {"frame_offset": 4_000, "num_frames": 6_000},
        {"sample_offset": "4000", "num_samples": "6000"},
        {"offset_samples": 4_000, "duration_samples": 6_000},
        {"start_sample": 4_000, "num_samples": 6_000, "duration": 12.5},
    ],
)
def test_samples_count_at_the_rate_of_the_file(record: dict[str, Any]) -> None:
    assert facts(record) == (4_000, 6_000, True)
    assert get_segment(record).at_16k(8_000) == Segment(8_000, 12_000, placed=True)
    assert get_segment(record).at_16k(44_100) == Segment(1_451, 2_177, placed=True)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"start": 1, "end": 2, "duration": 10}, "contradict"),
        ({"offset": 1, "start_time": 2}, "contradict"),
        ({"start_sample": 4_000, "duration": 2}, "different units"),
        ({"start_time": 1, "num_samples": 400}, "different units"),
        ({"start_time": 2, "end_time": 1}, "empty"),
        ({"start_time": "soon"}, "'start_time' is not a number of seconds"),
        ({"offset_ms": -3}, "'offset_ms' is -3"),
        ({"start_sample": float("nan")}, "'start_sample' is nan"),
        ({"start_sample": 1e300}, "'start_sample'"),
    ],
)
def test_unusable_times_are_faults_of_their_row(record: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_segment(record)


@pytest.mark.parametrize(
    ("records", "cut"),
    [
        ([{"begin_time": 100.0, "end_time": 102.0}], True),
        ([{"begin_time": 0.5, "end_time": 1.5}], False),
        ([{"begin_time": 0.0, "end_time": 1.0}], False),
        ([{"begin_time": 0.0, "end_time": 2.0}], False),
        ([{"begin_time": 0.0, "end_time": 2.0}, {"begin_time": 7.0, "end_time": 9.0}], True),
        ([{"begin_time": 9.0, "end_time": 19.0}], False),
        ([{"begin_sample": 160_000, "end_sample": 192_000}], True),
        ([{"duration_ms": 2_000}], True),
        ([{"duration_ms": 1_000}], False),
        ([{"begin_time": "x"}, {"start": 100, "end": 102}], False),
        ([], False),
    ],
)
def test_the_audio_tells_whether_it_is_cut_already(two_seconds: str, records: list[Any], cut: bool) -> None:
    assert are_cut(((record, two_seconds) for record in records), {"start", "end"}) is cut


def test_absent_audio_tells_nothing(two_seconds: str, tmp_path: Path) -> None:
    far = {"begin_time": 100.0, "end_time": 102.0}
    assert not are_cut([(far, str(tmp_path / "absent.wav")), (far, None)])
    assert are_cut([(far, str(tmp_path / "absent.wav")), (far, two_seconds)])
