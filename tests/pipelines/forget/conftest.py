"""Corpora of several speakers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from pipelines.forget.forget import Forgotten, forget
from pipelines.forget.wanted import Wanted

Config = dict[str, Any]
SPEAKERS = ("ann", "bob", "eve")
QUIET = Console(quiet=True)


@pytest.fixture
def spoken(speech: Path, tmp_path: Path) -> Path:
    """A manifest of 12 clips of three speakers, whom each work unit holds."""
    folder = Path(shutil.copytree(speech, tmp_path / "spoken"))
    rows = [
        {"audio": f"clip{n:03d}.wav", "text": f"{SPEAKERS[n % 3]} says number {n}", "speaker": SPEAKERS[n % 3]}
        for n in range(12)
    ]
    manifest = folder / "spoken.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


@pytest.fixture
def config(config: Config, spoken: Path, tmp_path: Path) -> Config:
    """Builds of that manifest with a codebook of their own, so that units do not depend on the history."""
    np.save(tmp_path / "c.npy", np.random.default_rng(0).standard_normal((12, 39)).astype(np.float32) * 20)
    return config | {
        "sources": [{"kind": "manifest", "path": str(spoken), "dataset": "clips"}],
        "quantizer": {"centroids": str(tmp_path / "c.npy")},
    }


@pytest.fixture(scope="session")
def forgetting() -> Callable[..., Forgotten]:
    """Forgets speech of a store."""

    def run(store: str, **wanted: Any) -> Forgotten:
        return forget(store, Wanted(**wanted), "a letter", QUIET)

    return run
