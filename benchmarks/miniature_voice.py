"""espeak-ng as a library, for `miniature.py`: thousands of sentences without a process for each."""

# Shapes: N = samples.

import ctypes
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

SYNCHRONOUS = 2
RATE, PITCH = 1, 3
CHARACTERS, UTF8 = 1, 1
"""Constants of espeak-ng's speak_lib.h."""


@dataclass(frozen=True)
class Voice:
    """A voice with its settings.

    Attributes:
        name: espeak-ng's name of the voice.
        pitch: 0 to 99.
        speed: words per minute.
    """

    name: str
    pitch: int
    speed: int


class Espeak:
    """Synthesises speech into files."""

    def __init__(self) -> None:
        library = find_library("espeak-ng")
        if library is None:
            raise SystemExit("espeak-ng is needed (Debian: apt-get install espeak-ng)")
        self._library: Any = ctypes.CDLL(library)
        self._rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, None, 0)
        self._pieces: list[bytes] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        self._callback = kind(self._keep)  # espeak-ng keeps only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def _keep(self, samples: int | None, count: int, events: int | None) -> int:  # noqa: ARG002 - in espeak-ng's order
        if samples and count:
            self._pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    def speak(self, path: Path, text: str, voice: Voice) -> None:
        """Write a text as speech, with 16 bits at espeak-ng's rate.

        Raises:
            ValueError: espeak-ng does not know the voice.
        """
        if self._library.espeak_SetVoiceByName(voice.name.encode()):
            raise ValueError(f"espeak-ng has no voice {voice.name}")
        self._library.espeak_SetParameter(RATE, voice.speed, 0)
        self._library.espeak_SetParameter(PITCH, voice.pitch, 0)
        content = text.encode() + b"\0"
        self._pieces.clear()
        self._library.espeak_Synth(content, len(content), 0, CHARACTERS, 0, UTF8, None, None)
        speech_N = np.frombuffer(b"".join(self._pieces), np.int16)
        soundfile.write(path, speech_N, self._rate, subtype="PCM_16")
