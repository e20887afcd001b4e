"""Errors in a user's audio, units or files; every message names the source and the remedy."""

from typing import Literal, get_args

from unitlang.printing import shown

AudioReason = Literal[
    "missing",
    "outside",
    "empty_file",
    "not_audio",
    "no_audio_stream",
    "corrupt",
    "unsupported",
    "truncated",
    "no_samples",
    "too_short",
    "not_finite",
    "bad_segment",
    "no_channel",
    "antiphase",
]
"""Stable codes of the `rejects` table; a code never changes its meaning."""

AUDIO_REASONS: tuple[AudioReason, ...] = get_args(AudioReason)


class UnitlangError(ValueError):
    """A mistake in the user's input; the message names the place and the remedy."""


class AudioError(UnitlangError):
    """Audio that is not usable speech input.

    Attributes:
        reason: one of `AUDIO_REASONS`.
        message: one line for a person.
        source: path or URL of the audio, or `<bytes>`.
    """

    def __init__(self, reason: AudioReason, message: str, source: str) -> None:
        super().__init__(reason, message, source)
        self.reason: AudioReason = reason
        self.message = message
        self.source = source

    def __str__(self) -> str:
        return shown(f"{self.source}: {self.message} [{self.reason}]")


class Unreachable(ConnectionError):  # noqa: N818 - reads as what it says
    """A file's server or disk failed even after retries; the file itself may be fine, so this is no fault of it."""
