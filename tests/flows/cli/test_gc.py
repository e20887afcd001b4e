"""`echox gc` says what it removes, to people and to programs."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from storage.collecting.marks import at_work
from storage.store import Store
from tests.flows.conftest import Echox

pytestmark = pytest.mark.slow

WORDS = ("--set", "unit_language.vocab_size=35")


@pytest.fixture(scope="module")
def two(store: Path, config: Path, echox: Echox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two versions, all of whose files are two days old, and an unfinished file; read only."""
    place = Path(shutil.copytree(store, tmp_path_factory.mktemp("gc") / "store"))
    built = echox("build", config, "--store", place, *WORDS)
    assert built.returncode == 0, built.stderr
    (place / "data" / "units" / "x.parquet#123").write_bytes(b"half")
    for path in place.rglob("*"):
        os.utime(path, (time.time() - 2 * 24 * 3600,) * 2)
    return place


@pytest.fixture
def place(two: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two, tmp_path / "store"))


def files(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_the_table_is_the_same_with_and_without_dry_run(place: Path, config: Path, echox: Echox) -> None:
    before = files(place)
    planned = echox("gc", place, "--keep", "1", "--dry-run")
    assert (planned.returncode, planned.stderr) == (0, "")
    assert files(place) == before
    done = echox("gc", place, "--keep", "1")
    assert planned.stdout == done.stdout.replace(") removed\n", ") would be removed\n")
    gone = before.keys() - files(place).keys()
    size = sum(len(before[path]) for path in gone)
    last = done.stdout.splitlines()[-1]
    assert last == f"{place}: version 1, in all {len(gone)} files ({size / 1000:.1f} kB) removed"
    folders = {str(Path(path).parent) for path in gone if "#" not in path}
    shown = {line.split("│")[1].strip() for line in done.stdout.splitlines() if line.startswith("│")}
    kinds = {re.sub(r"^((data|training|artifacts)/\w+)/.*", r"\1", folder) for folder in folders}
    assert shown == kinds | {"unfinished files"}
    assert {"manifests", "reports", "data/receipts", "data/unit_language", "artifacts/unit_language"} <= shown
    assert echox("verify", place).returncode == 0
    assert "up to date" in echox("build", config, "--store", place, *WORDS).stderr
    assert echox("versions", place).returncode == 0
    assert echox("gc", place).stdout.endswith(f"{place}: 0 files (0 bytes) removed\n")


def test_json(place: Path, echox: Echox) -> None:
    before = files(place)
    done = json.loads(echox("gc", place, "--older-than", "1d", "--dry-run", "--json").stdout)
    assert (done["store"], done["dry_run"], done["expired"], done["kept"]) == (str(place), True, [], [1, 2])
    done = json.loads(echox("gc", place, "--older-than", "0s", "--json").stdout)
    assert (done["dry_run"], done["expired"], done["kept"]) == (False, [1], [2])
    gone = before.keys() - files(place).keys()
    assert done["files"] == len(gone) == sum(kind["files"] for kind in done["kinds"].values())
    assert done["bytes"] == sum(len(before[path]) for path in gone)
    assert done["kinds"]["manifests"]["files"] == 1


def test_young_files_stay(place: Path, echox: Echox) -> None:
    done = json.loads(echox("gc", place, "--grace", "3d", "--json").stdout)
    assert (done["kinds"], done["files"]) == ({}, 0)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--keep", "0"), "Invalid value for '--keep'"),
        (("--keep", "-1"), "Invalid value for '--keep'"),
        (("--older-than", "7"), "'7' is no time of less than 100 years; write 30m, 12h, 7d or 4w"),
        (("--older-than", "-7d"), "'-7d' is no time"),
        (("--older-than", "1.5d"), "'1.5d' is no time"),
        (("--older-than", "99999w"), "'99999w' is no time"),
        (("--grace", "soon"), "'soon' is no time"),
        (("--grace", ""), "'' is no time"),
    ],
)
def test_a_mistyped_option_is_told(two: Path, echox: Echox, arguments: tuple[str, ...], fault: str) -> None:
    done = echox("gc", two, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert fault in " ".join(done.stderr.replace("│", " ").split())


def test_what_cannot_be_done_is_one_line(place: Path, echox: Echox, tmp_path: Path) -> None:
    with at_work(Store.open(place)):
        running = echox("gc", place)
    assert running.returncode == 2
    assert running.stderr.startswith(f"error: {place}: a program is at work there (")
    assert running.stderr.endswith("); run gc when it has ended\n")
    nothing = echox("gc", tmp_path / "nothing")
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    versioned = echox("gc", f"{place}@1")
    assert (versioned.returncode, versioned.stderr.count("\n")) == (2, 1)
    assert f"{place}@1" in versioned.stderr
