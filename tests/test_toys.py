"""Check that a new step, extractor and reader are one file each, which no other module names.

The tests copy the packages, add the files of `tests/toys` to the copy, and build with it on top of a corpus of an
earlier revision.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.store import HOME, only_one, unpack
from tests.imports import PACKAGES, ROOT

pytestmark = pytest.mark.slow

TOYS = ROOT / "tests" / "toys"
SCHEMA_LINE = """
SCHEMAS["loudness"] = pa.schema([_column("utterance_id", _TEXT), pa.field("decibels", pa.float64())])
"""
Echox = Callable[..., str]


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with only_one():
        yield


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a copy of the packages with the toys."""
    root = tmp_path_factory.mktemp("program")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TOYS / "loudness.py", root / "pipelines" / "steps")
    shutil.copy(TOYS / "wordlist.py", root / "pipelines" / "readers")
    shutil.copy(ROOT / "tests" / "unitlang" / "features" / "half_rate.py", root / "unitlang" / "features")
    with (root / "storage" / "schemas.py").open("a") as file:
        file.write(SCHEMA_LINE)
    return root


@pytest.fixture(scope="module")
def echox(program: Path) -> Echox:
    """A function that runs a command of that copy and returns its output."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", "from flows.cli import main; main()", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(program)}
        ran = subprocess.run(command, env=environment, cwd=program, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


def facts(echox: Echox, store: Path) -> dict[str, Any]:
    return json.loads(echox("inspect", str(store), "--json"))


def test_a_step_runs_on_a_store_that_was_built_before_it_existed(echox: Echox) -> None:
    config, store = unpack(), HOME / "store"
    assert facts(echox, store)["version"] == 1
    echox("verify", str(store))
    echox("build", str(config), "--set", "loudness.reference=0.5")
    found = facts(echox, store)
    assert (found["version"], found["entries"]) == (2, 8)
    assert found["lineage"]["work_units"]["loudness"] == found["lineage"]["work_units"]["quantize"]
    written = [path for path in (store / "data" / "loudness").iterdir() if path.suffix == ".parquet"]
    assert len(written) == found["lineage"]["work_units"]["loudness"]
    echox("verify", str(store))
    echox("build", str(config), "--set", "loudness.reference=0.5")
    assert facts(echox, store)["version"] == 2


def test_a_reader_and_an_extractor_make_a_corpus(echox: Echox) -> None:
    config = unpack()
    values = yaml.safe_load(config.read_text())
    lines = [f"{path.name} {path.with_suffix('.txt').read_text().strip()}" for path in (HOME / "read").glob("*.flac")]
    (HOME / "read" / "list.txt").write_text("\n".join(lines))
    values |= {
        "store": "toys",
        "sources": [{"kind": "wordlist", "dataset": "toys", "path": "read/list.txt"}],
        "features": {"kind": "half_rate"},
        "unit_language": {"vocab_size": 30},
    }
    config.write_text(yaml.safe_dump(values))
    shown = echox("build", str(config))
    assert "25.00" in shown
    found = facts(echox, HOME / "toys")
    assert (found["utterances"], found["compression"]["frames_per_second"]) == (len(lines), 25.0)
    assert found["made_with"]["grid"] == {"hop": 640, "view": 720}
    assert "25.00" in (HOME / "toys" / "reports" / "00000001.html").read_text()
    echox("verify", str(HOME / "toys"))
    encoded = json.loads(echox("encode", str(next((HOME / "read").glob("*.flac"))), "--store", str(HOME / "toys")))
    seconds = encoded["num_frames"] / 25
    assert 0.5 < seconds < 20
