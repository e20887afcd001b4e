"""Small real speech-like sources and builds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.build.build import build
from pipelines.build.commit import Built
from pipelines.config.build import check_config
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version
from tests.speech import MakeSpeech, write_speech


@pytest.fixture(scope="session")
def make_speech() -> MakeSpeech:
    """Writes speech into a folder."""
    return write_speech


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory, make_speech: MakeSpeech) -> Path:
    """A folder of 12 clips, read only."""
    return make_speech(tmp_path_factory.mktemp("speech"), 12)


Config = dict[str, Any]


@pytest.fixture
def config(speech: Path, tmp_path: Path) -> Config:
    """The values of a small build: a few clips a work unit, so that there are several."""
    return {
        "store": str(tmp_path / "store"),
        "sources": [{"kind": "folder", "path": str(speech), "dataset": "clips"}],
        "quantizer": {"k": 20, "iterations": 5},
        "unit_language": {"vocab_size": 60},
        "shards": {"hours": 0.005},
        "work_units": {"minutes": 0.1, "items": 5},
    }


RunBuild = Callable[..., Built]


@pytest.fixture(scope="session")
def run_build() -> RunBuild:
    """Builds in this process from config values."""

    def run(values: Config, ray_address: str | None = None) -> Built:
        return build(check_config(values, "test", Path.cwd()), Console(quiet=True), ray_address)

    return run


def rows(version: Version, table: str) -> dict[str, dict[str, Any]]:
    """Rows by id, without what depends on the history."""
    store = Store.open(version.store)
    key = "example_id" if table in ("s2t", "t2c", "echo") else "utterance_id"
    found = [row for file in version.files(table) for row in read_table(store, file.path).to_pylist()]
    made = {row[key]: {n: v for n, v in row.items() if n not in ("source_key", "words")} for row in found}
    assert len(made) == len(found)
    return made
