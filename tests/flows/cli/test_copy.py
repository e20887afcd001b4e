"""`echox copy`: to a bucket and back, killed and resumed."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from storage.store import Store
from tests.flows.conftest import CLI, Echox

pytestmark = pytest.mark.slow


def files(store: Path | str) -> dict[str, bytes]:
    """All files of a store but those of unfinished builds; later builds read the receipts of `ingest`."""
    place = Store.open(store)
    own = re.compile(r"data/(receipts/(?!ingest/)|sample_features/)|failures/|builds/")
    return {path: place.get(path) for path in place.list() if not own.match(path)}


def test_builds_go_on_with_a_copy_of_a_copy(
    store: Path, config: Path, echox: Echox, tmp_path: Path, s3_bucket: str
) -> None:
    there = echox("copy", store, s3_bucket)
    assert there.returncode == 0, there.stderr
    told = re.fullmatch(r"(.*): version 1; 10 tables copied \(.* kB\), 0 were there\n", there.stdout)
    assert told, there.stdout
    assert told[1] == s3_bucket
    assert "0 tables copied (0 bytes), 10 were there" in echox("copy", store, s3_bucket).stdout
    back = tmp_path / "corpus"
    assert echox("copy", f"{s3_bucket}@1", back).returncode == 0
    assert files(back) == files(s3_bucket) == files(store)
    assert echox("verify", back).returncode == 0
    more = config.parent / "read" / "more.wav"
    for place in (back, s3_bucket):
        same = echox("build", config, "--store", place)
        assert f"nothing to do: version 1 of {place} is up to date" in same.stderr
    shutil.copy(config.parent / "talk" / "0.wav", more)
    try:
        for place in (back, s3_bucket):
            built = echox("build", config, "--store", place)
            assert "entries: 1 new, 11 kept" in built.stderr, built.stderr
    finally:
        more.unlink()
    refused = echox("copy", back, s3_bucket)
    assert (refused.returncode, refused.stdout) == (2, "")
    fault = f"{s3_bucket} has another version 2 than {back}, and versions are never replaced: copy into another store"
    assert refused.stderr == f"error: {fault}\n"


def test_a_lost_table_of_a_copy_is_computed_again(store: Path, echox: Echox, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert echox("copy", store, copy).returncode == 0
    for folder in ("utterances", "units"):
        next((copy / "data" / folder).iterdir()).unlink()
    assert "2 files repaired" in echox("repair", copy).stdout
    assert files(copy) == files(store)


@pytest.mark.parametrize("bucket", [False, True], ids=["disk", "bucket"])
def test_killed_copies_end_as_one_that_was_not(
    store: Path, echox: Echox, tmp_path: Path, s3_bucket: str, bucket: bool
) -> None:
    """Each copy is killed a little later after its first file than the one before."""
    target = s3_bucket if bucket else str(tmp_path / "copy")
    for attempt in range(12):
        process = subprocess.Popen([*CLI, "copy", str(store), target], stderr=subprocess.DEVNULL)
        while process.poll() is None and not begun(target, attempt):
            time.sleep(0.002)
        time.sleep(0.003 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if begun(target, attempt) and "manifests/00000001.json" in {*Store.open(target).list()}:
            assert echox("verify", target).returncode == 0
    assert echox("copy", store, target).returncode == 0
    assert files(target) == files(store)


def begun(target: str, count: int) -> bool:
    """Whether more than `count` files are there."""
    try:
        return sum(1 for _ in Store.open(target).list()) > count
    except ValueError:
        return False
