"""`echox repair` says what became of each file."""

import shutil
from pathlib import Path

import pytest

from tests.flows.conftest import Echox

pytestmark = pytest.mark.slow


def test_lost_files_come_back(store: Path, echox: Echox, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    assert echox("repair", copy).stdout == f"{copy}@1: nothing to repair\n"
    lost = [next((copy / folder).iterdir()) for folder in ("data/units", "training/t2c")]
    for path in lost:
        path.unlink()
    failed = echox("inspect", copy)
    assert failed.returncode == 0, failed.stderr
    done = echox("repair", f"{copy}@1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *(f"{path}: computed again" for path in lost),
        f"{copy}@1: 2 files repaired",
    ]
    assert echox("verify", copy).returncode == 0


def test_what_is_lost_for_good_is_said_with_exit_code_2(store: Path, echox: Echox, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    lost = next((copy / "data" / "utterances").iterdir())
    lost.unlink()
    shutil.rmtree(copy / "data" / "items")
    failed = echox("repair", copy)
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    assert f"error: {lost}: {copy}/data/items/" in failed.stderr
    assert failed.stderr.endswith(f"{copy}@1: 1 files are still missing or damaged\n")
