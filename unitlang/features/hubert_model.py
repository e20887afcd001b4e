"""HuBERT's encoder for inference: each utterance of a padded batch gets the features that it gets alone.

Three things would let an utterance see more than itself. The group norm after the first convolution averages over
time: here its statistics are the utterance's own (`Moments`), and norm and normalisation of the waveform are folded
into that convolution's weights, one set an utterance. The positional convolution reaches over the end: frames of
padding are set to zero, as its own padding. Attention: padding is masked.

The convolutions run as matrix products over [time, channels], which needs neither transposing nor, but for the
first, copying.
"""

# Shapes: B = windows of a batch, N = samples at 16 kHz, L = positions of a convolution, K = its taps, C = its channels,
# T = frames, D = model dims, H = heads, E = dims of a head.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.models import Wav2Vec2Model

from unitlang.features.moments import HOP, TAPS, Moments

_LEVEL_EPSILON = 1e-5
"""Added to the variance of the waveform, as fairseq's and torch's layer norm does."""


@dataclass(frozen=True)
class Batch:
    """Windows that go through the model together.

    Attributes:
        waveform_BN: float32, padded with zeros.
        weight_BKC: weights of the first convolution, norms included.
        bias_B1C: its biases.
        frames: frames of each window.
    """

    waveform_BN: Tensor
    weight_BKC: Tensor
    bias_B1C: Tensor
    frames: list[int]

    def to(self, device: torch.device) -> "Batch":
        """The same on a device; from pinned memory the copies are asynchronous."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> "Batch":
        """The same in pinned memory."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(change(self.waveform_BN), change(self.weight_BKC), change(self.bias_B1C), self.frames)


class FirstConvolution:
    """The first convolution with all that normalises by statistics of a whole utterance folded in.

    Args:
        model: torchaudio's model.
        normalize: whether it wants waveforms of mean 0 and variance 1.
    """

    def __init__(self, model: Wav2Vec2Model, normalize: bool) -> None:
        blocks: Any = model.feature_extractor.conv_layers
        block = blocks[0]
        self._weight_CK = block.conv.weight.detach()[:, 0].double()
        bias_C = block.conv.bias
        self._bias_C = torch.zeros(len(self._weight_CK)).double() if bias_C is None else bias_C.detach().double()
        self._norm: nn.GroupNorm | None = block.layer_norm if isinstance(block.layer_norm, nn.GroupNorm) else None
        self._normalize = normalize

    def folded(self, moments: Moments) -> tuple[Tensor, Tensor]:
        """weight_KC and bias_C, float32, for the utterance of these moments."""
        weight_CK, bias_C = self._weight_CK, self._bias_C
        if self._normalize:
            mean, variance = moments.level()
            weight_CK = weight_CK / (variance + _LEVEL_EPSILON) ** 0.5
            bias_C = bias_C - mean * weight_CK.sum(1)
        if self._norm is not None:
            mean_K, covariance_KK = (torch.from_numpy(moment) for moment in moments.taps())
            variance_C = ((weight_CK @ covariance_KK) * weight_CK).sum(1).clamp(min=0)
            scale_C = self._norm.weight.detach().double() / torch.sqrt(variance_C + self._norm.eps)
            bias_C = self._norm.bias.detach().double() + (bias_C - (weight_CK @ mean_K + bias_C)) * scale_C
            weight_CK = weight_CK * scale_C[:, None]
        return weight_CK.T.float(), bias_C.float()


class Linear(nn.Module):
    """A linear layer in its weight's precision."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().contiguous(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs are the last dimension of `x`."""
        return functional.linear(x.to(self.weight.dtype), self.weight, self.bias)


class Convolution(nn.Module):
    """One of the strided convolutions after the first, with its norm, if any, and GELU."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        weight_CCK = block.conv.weight
        self.taps = weight_CCK.shape[2]
        self.stride = block.conv.stride[0]
        self.linear = Linear(weight_CCK.permute(0, 2, 1).flatten(1), block.conv.bias)
        self.norm = None if block.layer_norm is None else _layer_norm(block.layer_norm)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """The taps of a position lie one after the other in memory: they are one row of a matrix."""
        batch, length, channels = x_BLC.shape
        positions = (length - self.taps) // self.stride + 1
        strides = (x_BLC.stride(0), self.stride * channels, 1)
        rows_BLK = x_BLC.as_strided((batch, positions, self.taps * channels), strides)
        x_BLC = self.linear(rows_BLK)
        return functional.gelu(x_BLC if self.norm is None else self.norm(x_BLC.float()))


class Layer(nn.Module):
    """A transformer layer."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention, feed_forward = layer.attention, layer.feed_forward
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.heads = attention.num_heads
        self.norm_first = layer.layer_norm_first
        self.query_key_value = Linear(
            torch.cat([projection.weight for projection in projections]),
            torch.cat([projection.bias for projection in projections]),
        )
        self.out = Linear(attention.out_proj.weight, attention.out_proj.bias)
        self.up = Linear(feed_forward.intermediate_dense.weight, feed_forward.intermediate_dense.bias)
        self.down = Linear(feed_forward.output_dense.weight, feed_forward.output_dense.bias)
        self.norm = _layer_norm(layer.layer_norm)
        self.final_norm = _layer_norm(layer.final_layer_norm)

    def forward(self, x_BTD: Tensor, mask_B11T: Tensor | None) -> Tensor:
        """The residual stream stays in float32 whatever the precision of the products."""
        if self.norm_first:
            x_BTD = x_BTD + self._attend(self.norm(x_BTD), mask_B11T)
            return x_BTD + self._feed_forward(self.final_norm(x_BTD))
        x_BTD = self.norm(x_BTD + self._attend(x_BTD, mask_B11T))
        return self.final_norm(x_BTD + self._feed_forward(x_BTD))

    def _attend(self, x_BTD: Tensor, mask_B11T: Tensor | None) -> Tensor:
        projected = self.query_key_value(x_BTD).unflatten(2, (3, self.heads, -1))
        query_BHTE, key_BHTE, value_BHTE = projected.transpose(1, 3).unbind(2)
        mixed_BHTE = functional.scaled_dot_product_attention(query_BHTE, key_BHTE, value_BHTE, mask_B11T)
        return self.out(mixed_BHTE.transpose(1, 2).flatten(2))

    def _feed_forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(functional.gelu(self.up(x_BTD)))


class HubertEncoder(nn.Module):
    """From waveforms to the output of the last layer of `model`, which is taken apart.

    Args:
        model: torchaudio's model, in float32 and without weight norm.
        dtype: of the matrix products; norms, softmax and the residual stream stay in float32.
    """

    def __init__(self, model: Wav2Vec2Model, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        blocks: Any = model.feature_extractor.conv_layers
        encoder: Any = model.encoder
        transformer = encoder.transformer
        norm = blocks[0].layer_norm
        self.first_norm = _layer_norm(norm) if isinstance(norm, nn.LayerNorm) else None
        self.convolutions = nn.ModuleList(Convolution(block) for block in blocks[1:])
        self.projection_norm = _layer_norm(encoder.feature_projection.layer_norm)
        self.projection = Linear(
            encoder.feature_projection.projection.weight, encoder.feature_projection.projection.bias
        )
        self.positions = transformer.pos_conv_embed.conv
        self.norm = _layer_norm(transformer.layer_norm) if transformer.layer_norm_first else None
        self.layers = nn.ModuleList(Layer(layer) for layer in transformer.layers)
        for module in self.modules():
            if isinstance(module, Linear | nn.Conv1d):
                module.to(dtype)

    def forward(self, batch: Batch) -> list[Tensor]:
        """features_TD, float32, of each window."""
        x_BTD = self._front_end(batch)
        valid_BT = _valid(batch.frames, x_BTD)
        if valid_BT is not None:
            x_BTD = x_BTD.masked_fill(~valid_BT[:, :, None], 0.0)
        x_BTD = x_BTD + self._positions(x_BTD)
        if self.norm is not None:
            x_BTD = self.norm(x_BTD)
        mask_B11T = None if valid_BT is None else valid_BT[:, None, None, :]
        for layer in self.layers:
            x_BTD = layer(x_BTD, mask_B11T)
        return [x_TD[:frames] for x_TD, frames in zip(x_BTD, batch.frames, strict=True)]

    def _front_end(self, batch: Batch) -> Tensor:
        taps_BLK = batch.waveform_BN.unfold(1, TAPS, HOP)
        x_BLC = torch.baddbmm(batch.bias_B1C, taps_BLK, batch.weight_BKC)
        if self.first_norm is not None:
            x_BLC = self.first_norm(x_BLC)
        x_BLC = functional.gelu(x_BLC)
        for convolution in self.convolutions:
            x_BLC = convolution(x_BLC)
        return self.projection(self.projection_norm(x_BLC.float())).float()

    def _positions(self, x_BTD: Tensor) -> Tensor:
        convolution = self.positions
        moved_BDT = convolution(x_BTD.transpose(1, 2).to(convolution.weight.dtype))[..., : x_BTD.shape[1]]
        return functional.gelu(moved_BDT).transpose(1, 2)


def _layer_norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    """A plain layer norm: torchaudio's own for convolutions transposes first."""
    plain = nn.LayerNorm(list(norm.normalized_shape), norm.eps)
    plain.load_state_dict(norm.state_dict())
    return plain


def _valid(frames: Sequence[int], x_BTD: Tensor) -> Tensor | None:
    """Which frames are no padding, of shape (B, T); None where all are."""
    if min(frames) == x_BTD.shape[1]:
        return None
    frames_B1 = torch.tensor(frames, device=x_BTD.device)[:, None]
    return torch.arange(x_BTD.shape[1], device=x_BTD.device) < frames_B1
