"""Speech-like sound that tests generate."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000

MakeSpeech = Callable[..., Path]


def voice(seconds: float, seed: int) -> NDArray[np.float32]:
    """Generate syllables: buzzes of changing pitch and formants with pauses between them; waveform_N at 16 kHz."""
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


def write_speech(folder: Path, count: int, *, start: int = 0, seconds: float = 2.0) -> Path:
    """Write `count` WAV files with transcripts into a folder; equal arguments give equal files.

    Args:
        folder: created if needed.
        count: number of files.
        start: number of the first file; it seeds the sound and is part of the name.
        seconds: length of the shortest file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        path = folder / f"clip{number:03d}.wav"
        soundfile.write(path, voice(seconds + 0.1 * (number % 7), number), RATE, subtype="PCM_16")
        path.with_suffix(".txt").write_text(f"sentence number {number}\n")
    return folder
