"""Borders of work units: what an unfinished build does again, and what its workers read of Parquet files."""

from pathlib import Path

import pytest

from benchmarks.borders import counts
from benchmarks.row_groups import bytes_read


def test_an_unfinished_build_does_only_near_a_change_again() -> None:
    """Of 800 utterances in 17 work units of `ingest` and 30 of each later step."""
    found = {change: numbers for change, *numbers in counts(800, 5.0, 48)}
    scattered = found.pop("1 % of lines, scattered")
    for change, (units, all_units, files, all_files) in found.items():
        assert 1 <= units <= 6 < all_units / 2, change
        assert 1 <= files <= 9 < all_files / 2, change
    units, _, files, _ = map(sum, zip(*found.values(), strict=True))
    assert units / len(found) <= 3
    assert files / len(found) <= 5
    assert scattered[0] < scattered[1]
    assert scattered[2] < scattered[3]


@pytest.mark.slow
def test_a_row_group_is_read_twice_at_most(tmp_path: Path) -> None:
    """It is as long as several work units, with several pages and with one, and several row groups in a work unit."""
    for row_groups, page_rows, most in ((1, 10, 1.6), (1, 200, 2.1), (6, 200, 2.1)):
        folder = tmp_path / f"{row_groups}-{page_rows}"
        folder.mkdir()
        read = bytes_read(folder, 180, row_groups, page_rows)
        assert all(0.9 < ratio < most for _, ratio in read.values()), read
        assert read["quantize"][0] >= 2
