"""What speech encoders take: log-mel frames or waveforms, from encoded audio."""

# Shapes: N = samples at 16 kHz, F = log-mel frames (100/s), M = mel bins.

import io
from functools import cached_property
from typing import Any

import soundfile
import torch
from torch import Tensor

from echox.models.encoder import EncoderConfig

SAMPLE_RATE = 16_000
HOP = 160
"""Samples of a log-mel frame."""


class SpeechFeatures:
    """From a training shard's audio to what the encoder of a configuration takes. Threads may share it.

    Whisper's log-mel frames are those of transformers' extractor: of the whole window with silence behind the speech
    where the encoder sees whole windows, of the speech alone otherwise.
    """

    def __init__(self, config: EncoderConfig) -> None:
        self._config = config

    def __call__(self, audio: bytes) -> Tensor:
        """(F, M) float32 log-mel frames, or (N,) samples.

        Args:
            audio: an encoded file, 16 kHz, mono.
        """
        waveform_N, rate = soundfile.read(io.BytesIO(audio), dtype="float32")
        if rate != SAMPLE_RATE or waveform_N.ndim != 1:
            raise ValueError(f"training shards hold mono speech of {SAMPLE_RATE} Hz, not of {rate} Hz")
        return self._log_mel(waveform_N) if self._config.kind == "whisper" else torch.from_numpy(waveform_N)

    def seen(self, num_samples: int) -> int:
        """Samples that the encoder works on, silence included, of an audio of so many."""
        whole = self._config.kind == "whisper" and self._config.full_window
        return self._config.max_frames * HOP if whole else num_samples

    def _log_mel(self, waveform_N: Any) -> Tensor:
        samples = self._config.max_frames * HOP
        features = self._extractor(
            waveform_N,
            sampling_rate=SAMPLE_RATE,
            padding="max_length" if self._config.full_window else False,
            max_length=samples,
            truncation=True,
            return_tensors="pt",
        )
        return features["input_features"][0].T.contiguous()

    @cached_property
    def _extractor(self) -> Any:
        from transformers import WhisperFeatureExtractor

        return WhisperFeatureExtractor(feature_size=self._config.mels)
