"""Small Whisper models with random weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import WhisperModel

POSITIONS = 100
"""Frames of the small model's window: 2 s in place of 30."""

SIZES: dict[str, Any] = {
    "d_model": 64,
    "encoder_layers": 3,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 96,
    "vocab_size": 300,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "num_mel_bins": 80,
    "max_source_positions": POSITIONS,
}


def make_whisper(folder: Path, **settings: Any) -> "WhisperModel":
    """Write a model's folder and return the model."""
    from transformers import WhisperConfig as Settings
    from transformers import WhisperModel

    torch.manual_seed(0)
    model = WhisperModel(Settings(**SIZES | settings))
    for weight in model.encoder.parameters():  # make norms and biases count
        torch.nn.init.normal_(weight, float(weight.ndim == 1 and weight.mean() > 0.5), 0.1)
    model.save_pretrained(folder)
    return model.eval()
