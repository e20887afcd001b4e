"""HuBERT's encoder for inference: batching changes an utterance's features only within rounding.

Utterances are concatenated without padding. Frame-wise operations process them all as one; convolutions and attention,
which look around, process each on its own.
"""

# Shapes: B = windows of a batch, N = samples of them all at 16 kHz, K = taps of the first convolution, C = its
# channels, T = frames, of a window or of all, D = model dims, H = heads, E = dims of a head.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.models import Wav2Vec2Model

from unitlang.features.hubert_parts.front_end import FrontEnd, plain_norm
from unitlang.features.hubert_parts.positions import PositionalConvolution
from unitlang.products import product


@dataclass(frozen=True)
class Batch:
    """Windows that go through the model together.

    Attributes:
        waveform_N: float32, the windows concatenated.
        weight_BKC: weights of the first convolution, norms included.
        bias_BC: its biases.
        samples: samples of each window.
        frames: frames of each window.
    """

    waveform_N: Tensor
    weight_BKC: Tensor
    bias_BC: Tensor
    samples: list[int]
    frames: list[int]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; copies from pinned memory are asynchronous."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> "Batch":
        """Return the batch in pinned memory."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return replace(
            self,
            waveform_N=change(self.waveform_N),
            weight_BKC=change(self.weight_BKC),
            bias_BC=change(self.bias_BC),
        )


class Linear(nn.Module):
    """A linear layer that computes in the precision of its weight."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().T.contiguous(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().contiguous(), requires_grad=False)

    def forward(self, x_LI: Tensor) -> Tensor:
        """Return y_LO of each row."""
        y_LO = product(x_LI.to(self.weight.dtype), self.weight)
        return y_LO if self.bias is None else y_LO.add_(self.bias)


class Layer(nn.Module):
    """A transformer layer for inference."""

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
        self.norm = plain_norm(layer.layer_norm)
        self.final_norm = plain_norm(layer.final_layer_norm)

    def forward(self, x_TD: Tensor, frames: Sequence[int]) -> Tensor:
        """Return y_TD of concatenated windows.

        The residual stream stays in float32, whatever the precision of the products.

        Args:
            x_TD: float32, the windows concatenated.
            frames: frames of each window.
        """
        if self.norm_first:
            x_TD = x_TD + self._attend(self.norm(x_TD), frames)
            return x_TD + self._feed_forward(self.final_norm(x_TD))
        x_TD = self.norm(x_TD + self._attend(x_TD, frames))
        return self.final_norm(x_TD + self._feed_forward(x_TD))

    def _attend(self, x_TD: Tensor, frames: Sequence[int]) -> Tensor:
        mixed: list[Tensor] = []
        for projected in self.query_key_value(x_TD).split(list(frames)):
            query_1HTE, key_1HTE, value_1HTE = (
                projected.view(1, len(projected), 3, self.heads, -1).transpose(1, 3).unbind(2)
            )
            mixed_1HTE = functional.scaled_dot_product_attention(query_1HTE, key_1HTE, value_1HTE)
            mixed.append(mixed_1HTE[0].transpose(0, 1).flatten(1))
        return self.out(torch.cat(mixed))

    def _feed_forward(self, x_TD: Tensor) -> Tensor:
        return self.down(functional.gelu(self.up(x_TD)))


class HubertEncoder(nn.Module):
    """Computes the output of the last layer of `model` from waveforms; built from the weights of `model`.

    Args:
        model: torchaudio's model, in float32 and without weight norm.
        dtype: precision of the matrix products; norms, softmax and the residual stream stay in float32.
    """

    def __init__(self, model: Wav2Vec2Model, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        encoder: Any = model.encoder
        transformer, projection = encoder.transformer, encoder.feature_projection
        self.front_end = FrontEnd(model, dtype)
        self.projection_norm = plain_norm(projection.layer_norm)
        self.projection = Linear(projection.projection.weight, projection.projection.bias)
        self.positions = PositionalConvolution(transformer.pos_conv_embed.conv)
        self.norm = plain_norm(transformer.layer_norm) if transformer.layer_norm_first else None
        self.layers = nn.ModuleList(Layer(layer) for layer in transformer.layers)
        for module in self.modules():
            if isinstance(module, Linear):
                module.to(dtype)

    def forward(self, batch: Batch) -> Tensor:
        """Return features_TD, float32, of the windows, concatenated."""
        waveforms = batch.waveform_N.split(batch.samples)
        each = zip(waveforms, batch.weight_BKC, batch.bias_BC, batch.frames, strict=True)
        x_TC = torch.cat([self.front_end(*window) for window in each])
        x_TD = self.projection(self.projection_norm(x_TC.float())).float()
        x_TD = x_TD + self.positions(x_TD, batch.frames)
        if self.norm is not None:
            x_TD = self.norm(x_TD)
        for layer in self.layers:
            x_TD = layer(x_TD, batch.frames)
        return x_TD
