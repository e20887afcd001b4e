"""Speech encoders with pretrained weights: Whisper on log-mel frames, HuBERT and wav2vec2 on waveforms."""

from dataclasses import dataclass
from typing import Literal

from echox.models.config import PartConfig


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(PartConfig):
    """The speech encoder, in Hugging Face's shape."""

    kind: Literal["whisper", "hubert", "wav2vec2"] = "whisper"
    """Whose architecture; `whisper` reads log-mel frames (100/s), the others waveforms at 16 kHz."""
    layers: int
    """Number of layers."""
    width: int
    """Dimensions of its states, 50/s."""
    heads: int
    """Attention heads."""
    feed_forward: int
    """Inner dimensions of the feed-forward."""
    mels: int = 128
    """Whisper: bins of a log-mel frame."""
    max_frames: int = 3000
    """Whisper: frames of its window; 3000 are 30 s."""
    full_window: bool = True
    """Whisper: always see a whole window, silence behind the speech, as in its pretraining; else the speech alone."""
    checkpoint: str | None = None
    """Local Hugging Face folder of pretrained weights; without one they are random."""
    trainable: bool = False
    """Train it too, as a random one must be."""
