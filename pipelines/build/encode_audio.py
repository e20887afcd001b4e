"""Encode new audio with the quantizer and unit language of a corpus."""

from dataclasses import dataclass
from typing import Any, Self

from pipelines.sources.audio_files import audio_source
from pipelines.steps.fit_quantizer import load_quantizer
from pipelines.steps.fit_unit_language import load_unit_language
from storage.versions import resolve
from unitlang.audio.reading import stream
from unitlang.audio.sources import source_name
from unitlang.errors import AudioError
from unitlang.frames import SAMPLE_RATE
from unitlang.language.unit_language import UnitLanguage
from unitlang.quantizer.quantizer import Quantizer
from unitlang.units import RunEncoder


@dataclass(frozen=True)
class Encoder:
    """Encodes audio as units and words."""

    quantizer: Quantizer
    language: UnitLanguage

    @classmethod
    def of(cls, corpus: str) -> Self:
        """Load the encoder of `STORE[@VERSION]`.

        Raises:
            StorageError: the store, the version or one of its artifacts cannot be read.
            UnitlangError: the model of the quantizer cannot be loaded.
        """
        store, version = resolve(corpus)
        quantizer, language = (version.artifact(kind).fingerprint for kind in ("quantizer", "unit_language"))
        return cls(load_quantizer(store, quantizer), load_unit_language(store, language))

    def __call__(self, path: str, channel: int | None = None) -> dict[str, Any]:
        """Units, durations in frames, and words of one audio file.

        Args:
            path: path or URL.
            channel: the channel to encode, from 0; None = mix all.

        Raises:
            AudioError: the file is not usable speech.
        """
        encoder = RunEncoder()
        for units_T in self.quantizer.quantize(stream(audio_source(path), channel=channel)):
            encoder.add(units_T)
        runs = encoder.finish()
        if not len(runs):
            needed = self.quantizer.grid.view
            raise AudioError("too_short", f"one frame needs {needed} samples at {SAMPLE_RATE} Hz", source_name(path))
        words_W = self.language.encode(runs.units_R, quantizer=self.quantizer.fingerprint)
        return {
            "audio": source_name(path),
            "num_frames": runs.num_frames,
            "units": runs.units_R.tolist(),
            "durations": runs.durations_R.tolist(),
            "words": self.language.words(words_W),
            "word_ids": words_W.tolist(),
        }
