"""The frame grid of HuBERT: 20 ms steps of 25 ms windows at 16 kHz."""

SAMPLE_RATE = 16_000
"""Samples per second of every waveform inside the project."""

FRAME_SAMPLES = 400
"""Receptive field of a HuBERT frame in samples (kernels 10,3,3,3,3,2,2, strides 5,2,2,2,2,2,2; arXiv 2106.07447)."""

FRAME_HOP = 320
"""Samples between two frames."""

FRAME_SECONDS = FRAME_HOP / SAMPLE_RATE
"""Seconds between two frames (0.02)."""


def num_frames(num_samples: int) -> int:
    """Number of frames of a waveform of `num_samples` samples at 16 kHz; 0 below 400 samples."""
    return max(0, (num_samples - FRAME_SAMPLES) // FRAME_HOP + 1)
