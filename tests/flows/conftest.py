"""A small corpus as the command line makes it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.flows.warm import Warm, environment

RATE = 16_000
CLI = (sys.executable, "-c", "from flows.cli import main; main()")
Process = subprocess.CompletedProcess[str]
Echox = Callable[..., Process]


@pytest.fixture(scope="session")
def echox() -> Iterator[Echox]:
    """Runs the command, as from a script: no terminal, 80 columns.

    A test that sets variables of the environment gets a process of its own: libraries read some at their import.
    """
    warm = Warm()

    def run(*arguments: str | Path) -> Process:
        if environment() == warm.environment:
            return warm.run([*map(str, arguments)])
        command = [*CLI, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)

    yield run
    warm.close()


def write_clips(folder: Path, count: int, seed: int) -> None:
    """Seconds of tones that change every tenth of a second, with transcripts."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    tones = [np.sin(2 * np.pi * pitch / RATE * np.arange(RATE // 10)) for pitch in (200, 400, 700, 1100, 1600)]
    for number in range(count):
        wave_N = 0.3 * np.concatenate([tones[i] for i in rng.integers(len(tones), size=20)])
        noise_N = 0.01 * rng.standard_normal(len(wave_N))
        soundfile.write(folder / f"{number}.wav", wave_N + noise_N, RATE, subtype="PCM_16")
        (folder / f"{number}.txt").write_text(f"number {number}\n")


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a corpus of two datasets: nine utterances and two rejects."""
    folder = tmp_path_factory.mktemp("flows") / "a folder [1]"
    folder.mkdir()
    write_clips(folder / "read", 6, seed=0)
    write_clips(folder / "talk", 3, seed=1)
    (folder / "read" / "empty.wav").touch()
    (folder / "talk" / "text.wav").write_text("no audio at all " * 20)
    values = {
        "store": "corpus",
        "sources": [
            {"kind": "folder", "dataset": "read", "path": "read"},
            {"kind": "folder", "dataset": "conversation", "path": "talk", "task": "tts"},
        ],
        "quantizer": {"k": 10, "iterations": 5},
        "unit_language": {"vocab_size": 30},
        "max_reject_ratio": 0.5,
    }
    (folder / "build.yaml").write_text(json.dumps(values))
    return folder / "build.yaml"


@pytest.fixture(scope="session")
def built(echox: Echox, config: Path) -> Process:
    """Output of the first build."""
    return echox("build", config)


@pytest.fixture(scope="session")
def store(built: Process, config: Path) -> Path:
    """The corpus that it made; read only."""
    assert built.returncode == 0, built.stderr
    return config.parent / "corpus"
