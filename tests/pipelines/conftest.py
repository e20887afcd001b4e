"""Small real speech-like sources and builds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from rich.console import Console

from pipelines.build import build
from pipelines.build_state import Built
from pipelines.config import check_config

RATE = 16_000


def voice(seconds: float, seed: int) -> NDArray[np.float32]:
    """Syllables: buzzes of changing pitch and formants with pauses between them; waveform_N at 16 kHz."""
    rng = np.random.default_rng(seed)
    parts: list[NDArray[np.float64]] = []
    while sum(map(len, parts)) < seconds * RATE:
        time_N = np.arange(int(rng.uniform(0.08, 0.25) * RATE)) / RATE
        pitch = rng.uniform(90, 220)
        formants = rng.choice([300, 500, 700, 1200, 1800, 2400], 2, replace=False)
        harmonics = range(1, int(4000 / pitch))
        buzz_N = sum(
            np.sin(2 * np.pi * pitch * h * time_N) * sum(np.exp(-(((pitch * h - f) / 150) ** 2)) for f in formants)
            for h in harmonics
        )
        parts += [buzz_N * np.hanning(len(time_N)), np.zeros(int(rng.uniform(0.01, 0.08) * RATE))]
    wave_N = np.concatenate(parts)[: int(seconds * RATE)]
    return (0.3 * wave_N / np.abs(wave_N).max() + 1e-4 * rng.standard_normal(len(wave_N))).astype(np.float32)


MakeSpeech = Callable[..., Path]


@pytest.fixture(scope="session")
def make_speech() -> MakeSpeech:
    """Writes `count` WAV files with transcripts into a folder; the same numbers, the same files."""

    def make(folder: Path, count: int, *, start: int = 0, seconds: float = 2.0) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(start, start + count):
            path = folder / f"clip{number:03d}.wav"
            soundfile.write(path, voice(seconds + 0.1 * (number % 7), number), RATE, subtype="PCM_16")
            path.with_suffix(".txt").write_text(f"sentence number {number}\n")
        return folder

    return make


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
