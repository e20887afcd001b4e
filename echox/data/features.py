"""The inputs of speech encoders, log-mel frames or waveforms, from encoded audio."""

# Shapes: B = examples, N = samples at 16 kHz, P = samples with their mirror images at both ends, F = log-mel frames
# (100/s), W = samples of a window, M = mel bins.

import io
from functools import cached_property

import soundfile
import torch
from torch import Tensor
from torch.nn import functional

from echox.models.encoder import EncoderConfig
from echox.models.ragged import Ragged

SAMPLE_RATE = 16_000
HOP = 160
"""Samples from one log-mel frame to the next."""
WINDOW = 400
"""Samples of a window, whose middle is the frame's place."""
FLOOR = 1e-10
"""Least energy of a mel bin."""
RANGE = 8.0
"""Decades below an example's largest energy that are kept."""


class SpeechFeatures:
    """Makes the inputs of an encoder from a training shard's audio. Threads may share it.

    Whisper's log-mel frames are those of transformers' extractor: of the whole window, padded with silence,
    where the encoder reads whole windows, and of the speech alone otherwise.
    """

    def __init__(self, config: EncoderConfig) -> None:
        self._config = config

    def decode(self, audio: bytes) -> Tensor:
        """Return (N,) float32 samples, at most a window of Whisper.

        Args:
            audio: an encoded file, 16 kHz, mono.

        Raises:
            ValueError: the audio has another rate or several channels.
        """
        waveform_N, rate = soundfile.read(io.BytesIO(audio), dtype="float32")
        if rate != SAMPLE_RATE or waveform_N.ndim != 1:
            raise ValueError(f"training shards hold mono speech of {SAMPLE_RATE} Hz, not of {rate} Hz")
        samples = torch.from_numpy(waveform_N)
        return samples[: self._config.max_frames * HOP] if self._config.kind == "whisper" else samples

    def of_batch(self, waveforms: Ragged) -> Ragged:
        """Return (B, F, M) float32 log-mel frames, or the waveforms, (B, N), on their device."""
        if self._config.kind != "whisper":
            return waveforms
        if self._config.full_window:
            samples = self._config.max_frames * HOP
            values_BN = functional.pad(waveforms.values_BL * waveforms.mask, (0, samples - waveforms.values_BL.size(1)))
            waveforms = Ragged(values_BN, torch.full_like(waveforms.lengths_B, samples))
        return log_mel(waveforms, self._filters.to(waveforms.values_BL.device))

    def seen(self, num_samples: int) -> int:
        """Return the number of samples that the encoder reads of an audio, silence included."""
        whole = self._config.kind == "whisper" and self._config.full_window
        return self._config.max_frames * HOP if whole else num_samples

    @cached_property
    def _filters(self) -> Tensor:
        """(W / 2 + 1, M) weights of the frequencies in each mel bin."""
        from transformers import WhisperFeatureExtractor

        return torch.from_numpy(WhisperFeatureExtractor(feature_size=self._config.mels).mel_filters).float()


def log_mel(waveforms: Ragged, filters_FM: Tensor) -> Ragged:
    """Return Whisper's log-mel frames (B, F, M) of waveforms (B, N); those of an example do not depend on the others.

    Args:
        waveforms: samples at 16 kHz, on the device that computes.
        filters_FM: weights of the frequencies in each mel bin.
    """
    mirrored_BP, lengths_B = _mirrored(waveforms), waveforms.lengths_B // HOP
    frames = waveforms.values_BL.size(1) // HOP
    window_W = torch.hann_window(WINDOW, device=mirrored_BP.device)
    spectrum_BFW = torch.stft(mirrored_BP, WINDOW, HOP, window=window_W, center=False, return_complex=True).mT
    energies_BFM = (spectrum_BFW[:, :frames].abs() ** 2) @ filters_FM
    logs = Ragged(energies_BFM.clamp(min=FLOOR).log10(), lengths_B)
    padding_BF1 = ~logs.mask[:, :, None]
    loudest_B11 = logs.values_BL.masked_fill(padding_BF1, -torch.inf).amax((1, 2), keepdim=True)
    scaled_BFM = (torch.maximum(logs.values_BL, loudest_B11 - RANGE) + 4.0) / 4.0
    return Ragged(scaled_BFM.masked_fill(padding_BF1, 0.0), lengths_B)


def _mirrored(waveforms: Ragged) -> Tensor:
    """Return (B, P): each waveform between two mirror images of half a window."""
    last_B1 = waveforms.lengths_B[:, None] - 1
    half = WINDOW // 2
    places_P = torch.arange(-half, waveforms.values_BL.size(1) + half, device=last_B1.device).abs()
    places_BP = (last_B1 - (last_B1 - places_P).abs()).clamp(min=0)
    return waveforms.values_BL.take_along_dim(places_BP, 1)
