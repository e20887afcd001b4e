"""`echox versions`: one row per version."""

from pathlib import Path

from tests.flows.conftest import Echox


def test_versions_for_people(store: Path, echox: Echox) -> None:
    listed = echox("versions", store)
    assert listed.returncode == 0
    (row,) = (line.split() for line in listed.stdout.splitlines() if line.startswith("  1 "))
    assert row[3:6] == ["0.005", "9", "10"]
