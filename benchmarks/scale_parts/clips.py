"""Contents of the files of the benchmark of scale: they follow from the number of the clip, which is its name."""

from pathlib import PurePosixPath

SPEAKER = 500
"""Utterances of a speaker, which has a folder."""
SECONDS = 0.35
"""Mean length of an utterance."""


def name_of(number: int) -> str:
    """Path of a clip in its source, without extension."""
    return f"{number // SPEAKER:05d}/{number:07d}"


def number_of(uri: str) -> int:
    """Number of the clip of a file."""
    return int(PurePosixPath(uri).stem)


def audio(number: int) -> bytes:
    """Contents of the audio file of a clip: its number, and its length in samples at 16 kHz."""
    return f"{number} {int(SECONDS * 16_000) + 64 * (number % 51 - 25)}".encode()


def text(number: int) -> str:
    """Text of a clip."""
    return f"sentence number {number}"
