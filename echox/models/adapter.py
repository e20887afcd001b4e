"""Soundwave's adapter: from speech states to embeddings that stand among those of text."""

from dataclasses import dataclass
from typing import Literal

from echox.models.config import PartConfig


@dataclass(frozen=True, kw_only=True)
class AdapterConfig(PartConfig):
    """Soundwave's adapter (Zhang et al., 2025, arXiv:2502.12900); widths are those of its neighbours."""

    heads: int
    """Heads of its attention; Soundwave takes the language model's."""
    stack: int = 2
    """Neighbouring states that become one frame: 50/s to 25/s."""
    dropout: float = 0.1
    """Dropout in its layer and in the look-back."""
    context: Literal["all", "itself"] = "all"
    """What a frame attends to in the layer; the released checkpoints were trained with `itself`."""
    look_back_keys: Literal["all", "kept"] = "all"
    """What kept frames attend to: all frames, as published, or the kept ones, as in the released checkpoints."""
