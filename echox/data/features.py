"""The inputs of speech encoders, log-mel frames or waveforms, from encoded audio."""

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
"""Samples from one log-mel frame to the next."""


class SpeechFeatures:
    """Makes the inputs of an encoder from a training shard's audio. Threads may share it.

    Whisper's log-mel frames are those of transformers' extractor: of the whole window, padded with silence,
    where the encoder reads whole windows, and of the speech alone otherwise.
    """

    def __init__(self, config: EncoderConfig) -> None:
        self._config = config

    def __call__(self, audio: bytes) -> Tensor:
        """Return (F, M) float32 log-mel frames, or (N,) samples.

        Args:
            audio: an encoded file, 16 kHz, mono.

        Raises:
            ValueError: the audio has another rate or several channels.
        """
        waveform_N, rate = soundfile.read(io.BytesIO(audio), dtype="float32")
        if rate != SAMPLE_RATE or waveform_N.ndim != 1:
            raise ValueError(f"training shards hold mono speech of {SAMPLE_RATE} Hz, not of {rate} Hz")
        return self._log_mel(waveform_N) if self._config.kind == "whisper" else torch.from_numpy(waveform_N)

    def seen(self, num_samples: int) -> int:
        """Return the number of samples that the encoder reads of an audio, silence included."""
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
