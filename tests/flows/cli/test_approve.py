"""`echox approve`: a version that failed a gate."""

import shutil
from pathlib import Path

import pytest

from tests.flows.conftest import Echox, write_clips

pytestmark = pytest.mark.slow


def test_a_version_that_moved_too_far_waits_for_a_person(config: Path, tmp_path: Path, echox: Echox) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(config.parent, folder, ignore=shutil.ignore_patterns("corpus"))
    build = ("build", folder / "build.yaml")
    assert echox(*build).returncode == 0
    write_clips(folder / "read" / "more", 8, seed=2)
    moved = echox(*build, "--set", "gates.hours=0.5")
    store = folder / "corpus"
    assert moved.returncode == 3
    told = f"needs a look: hours went from 0.005 to 0.009 since version 1 (gate 50.0%); then: echox approve {store}@2"
    assert moved.stderr.strip().splitlines()[-1] == told
    assert "candidate" in echox("versions", store).stdout
    assert echox(*build).returncode == 3, "a build that finds nothing new still has a candidate"
    assert echox("approve", f"{store}@2").stdout == f"{store}@2: approved\n"
    assert echox("approve", f"{store}@2").stdout == f"{store}@2: nothing to approve\n"
    assert echox(*build).returncode == 0
