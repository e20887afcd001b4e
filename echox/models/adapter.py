"""Soundwave's adapter: from speech states to embeddings of the language model."""

# Shapes: B = examples, T = encoder states (50/s), E = their hidden size, F = frames of the adapter (25/s), K = kept
# frames, H = hidden size of the language model, V = its vocabulary, C = tokens of a transcript.

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from echox.models.config import PartConfig
from echox.models.frame_scores import best_tokens, score
from echox.models.ragged import Ragged
from echox.models.scores import CtcScores


@dataclass(frozen=True, kw_only=True)
class AdapterConfig(PartConfig):
    """Soundwave's adapter (Zhang et al., 2025, arXiv:2502.12900); its neighbours determine its sizes."""

    heads: int
    """Heads of its attention; Soundwave takes the language model's."""
    stack: int = 2
    """Neighbouring states that are stacked to one frame: 50/s to 25/s."""
    dropout: float = 0.1
    """Dropout in its layer and in the look-back."""
    context: Literal["all", "itself"] = "all"
    """Frames to which a frame attends in the layer; the released checkpoints were trained with `itself`."""
    look_back_keys: Literal["all", "kept"] = "all"
    """Frames to which kept frames attend: all, as published, or the kept ones, as in the released checkpoints."""


class Adapter(nn.Module):
    """Stack, project, one Transformer layer, CTC head, shrink, look back."""

    def __init__(self, config: AdapterConfig, speech_hidden_size: int, hidden_size: int, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.projection = nn.Linear(config.stack * speech_hidden_size, hidden_size)
        self.layer = nn.TransformerEncoderLayer(
            hidden_size, config.heads, 2 * hidden_size, config.dropout, batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.ctc_head = nn.Linear(hidden_size, vocabulary, bias=False)
        self.look_back = LookBack(hidden_size, config.heads, config.dropout)

    def forward(self, states: Ragged) -> Ragged:
        """Return (B, K, H), the kept frames of encoder states, (B, T, E), which replace the placeholder."""
        frames = self.frames(states)
        return self._kept(frames, best_tokens(frames.values_BL, self.ctc_head.weight))

    def with_ctc(self, states: Ragged, transcript: Ragged, blank: int) -> tuple[Ragged, CtcScores]:
        """Return the output of `forward` and the CTC scores of transcripts.

        Args:
            states: (B, T, E) states of the encoder.
            transcript: (B, C) ids.
            blank: id of CTC's blank.
        """
        frames = self.frames(states)
        columns_BC = functional.pad(transcript.values_BL, (1, 0), value=blank)
        best_BF, columns_BFC, sums_BF = score(frames.values_BL, self.ctc_head.weight, columns_BC)
        ctc = CtcScores(Ragged(columns_BFC, frames.lengths_B), sums_BF, transcript)
        return self._kept(frames, best_BF), ctc

    def _kept(self, frames: Ragged, best_BF: Tensor) -> Ragged:
        """Return the first frame of each run of equal tokens, after the look-back."""
        keep_BF = changes(best_BF) & frames.mask
        keys_BF = frames.mask if self.config.look_back_keys == "all" else keep_BF
        return self.look_back(shrink(frames, keep_BF), frames, keys_BF)

    def frames(self, states: Ragged) -> Ragged:
        """Return (B, F, H), the frames that CTC and look-back read."""
        stacked = stack(states, self.config.stack)
        projected_BFH = self.projection(stacked.values_BL)
        if self.config.context == "all":
            mixed_BFH = self.layer(projected_BFH, src_key_padding_mask=~stacked.mask)
        else:
            mixed_BFH = self.layer(projected_BFH.flatten(0, 1)[:, None]).view_as(projected_BFH)
        return Ragged(self.norm(mixed_BFH), stacked.lengths_B)


class LookBack(nn.Module):
    """Attention of the kept frames over all frames, which recovers what shrinking loses."""

    def __init__(self, hidden_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(hidden_size, heads, dropout, batch_first=True)
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, kept: Ragged, frames: Ragged, keys_BF: Tensor) -> Ragged:
        """Return (B, K, H) from kept frames (B, K, H), which attend to those frames (B, F, H) that `keys_BF` marks."""
        queries_BKH, keys_BFH = kept.values_BL, frames.values_BL
        seen_BKH, _ = self.attention(queries_BKH, keys_BFH, keys_BFH, key_padding_mask=~keys_BF, need_weights=False)
        return Ragged(self.norm(queries_BKH + seen_BKH), kept.lengths_B)


def stack(states: Ragged, count: int) -> Ragged:
    """Return (B, ceil(T / count), count * E): `count` neighbours in one frame, the last padded with zeros."""
    values_BTE = states.values_BL * states.mask[:, :, None]
    padded_BTE = functional.pad(values_BTE, (0, 0, 0, -values_BTE.size(1) % count))
    return Ragged(padded_BTE.unflatten(1, (-1, count)).flatten(2), (states.lengths_B + count - 1) // count)


def changes(tokens_BF: Tensor) -> Tensor:
    """Return True at the first frame of each run of equal tokens."""
    first_B1 = torch.ones_like(tokens_BF[:, :1], dtype=torch.bool)
    return torch.cat([first_B1, tokens_BF[:, 1:] != tokens_BF[:, :-1]], dim=1)


def shrink(frames: Ragged, keep_BF: Tensor) -> Ragged:
    """Return (B, K, H), the frames that `keep_BF` marks, in order; a run of blanks is one frame too."""
    lengths_B = keep_BF.sum(1)
    order_BF = keep_BF.int().argsort(dim=1, descending=True, stable=True)
    index_BK = order_BF[:, : int(lengths_B.max())]
    return Ragged(frames.values_BL.take_along_dim(index_BK[:, :, None], dim=1), lengths_B)
