"""Soundwave's adapter: from speech states to embeddings that stand among those of text."""

# Shapes: B = examples, T = encoder states (50/s), E = their width, F = frames (25/s), K = kept frames, H = width of the
# language model, V = its vocabulary.

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from echox.models.config import PartConfig
from echox.models.ragged import Ragged


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


@dataclass(frozen=True)
class Heard:
    """What the adapter makes of speech.

    Attributes:
        embeddings: (B, K, H) kept frames, in place of the placeholder.
        ctc_logits: (B, F, V) scores of the transcript's tokens; the placeholder is the blank.
    """

    embeddings: Ragged
    ctc_logits: Ragged


class Adapter(nn.Module):
    """Stack, project, one Transformer layer, CTC head, shrink, look back."""

    def __init__(self, config: AdapterConfig, speech_width: int, width: int, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.projection = nn.Linear(config.stack * speech_width, width)
        self.layer = nn.TransformerEncoderLayer(
            width, config.heads, 2 * width, config.dropout, batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width)
        self.ctc_head = nn.Linear(width, vocabulary, bias=False)
        self.look_back = LookBack(width, config.heads, config.dropout)

    def forward(self, states: Ragged) -> Heard:
        """From encoder states, (B, T, E)."""
        frames = self.frames(states)
        logits_BFV = self.ctc_head(frames.values_BL)
        keep_BF = changes(logits_BFV.argmax(-1)) & frames.mask
        keys_BF = frames.mask if self.config.look_back_keys == "all" else keep_BF
        embeddings = self.look_back(shrink(frames, keep_BF), frames, keys_BF)
        return Heard(embeddings, Ragged(logits_BFV, frames.lengths_B))

    def frames(self, states: Ragged) -> Ragged:
        """(B, F, H): what CTC and look-back see."""
        stacked = stack(states, self.config.stack)
        projected_BFH = self.projection(stacked.values_BL)
        if self.config.context == "all":
            mixed_BFH = self.layer(projected_BFH, src_key_padding_mask=~stacked.mask)
        else:
            mixed_BFH = self.layer(projected_BFH.flatten(0, 1)[:, None]).view_as(projected_BFH)
        return Ragged(self.norm(mixed_BFH), stacked.lengths_B)


class LookBack(nn.Module):
    """Kept frames gather from all frames what shrinking would lose."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, kept: Ragged, frames: Ragged, keys_BF: Tensor) -> Ragged:
        """(B, K, H) from kept frames (B, K, H) and frames (B, F, H), of which those in `keys_BF` can be seen."""
        queries_BKH, keys_BFH = kept.values_BL, frames.values_BL
        seen_BKH, _ = self.attention(queries_BKH, keys_BFH, keys_BFH, key_padding_mask=~keys_BF, need_weights=False)
        return Ragged(self.norm(queries_BKH + seen_BKH), kept.lengths_B)


def stack(states: Ragged, count: int) -> Ragged:
    """(B, ceil(T / count), count * E): so many neighbours in one, zeros behind the last."""
    values_BTE = states.values_BL * states.mask[:, :, None]
    padded_BTE = nn.functional.pad(values_BTE, (0, 0, 0, -values_BTE.size(1) % count))
    return Ragged(padded_BTE.unflatten(1, (-1, count)).flatten(2), (states.lengths_B + count - 1) // count)


def changes(tokens_BF: Tensor) -> Tensor:
    """True at the first frame of each run of equal tokens."""
    first_B1 = torch.ones_like(tokens_BF[:, :1], dtype=torch.bool)
    return torch.cat([first_B1, tokens_BF[:, 1:] != tokens_BF[:, :-1]], dim=1)


def shrink(frames: Ragged, keep_BF: Tensor) -> Ragged:
    """(B, K, H): the frames in `keep_BF`, in order. Runs of blanks are kept as one frame too."""
    lengths_B = keep_BF.sum(1)
    order_BF = keep_BF.int().argsort(dim=1, descending=True, stable=True)
    index_BK = order_BF[:, : int(lengths_B.max())]
    return Ragged(frames.values_BL.take_along_dim(index_BK[:, :, None], dim=1), lengths_B)
