"""HuBERT's convolutions for inference, a few seconds at a time to reuse the memory between them.

They run as matrix products over [positions, channels], without transposing. The group norm after the first convolution
averages over the whole utterance: its statistics are computed in advance (`Moments`). Norm and normalisation of the
waveform are folded into that convolution's weights, one set per utterance.
"""

# Shapes: N = samples at 16 kHz, L = positions of a convolution, P = those of the next, R = triples of these, K = taps,
# C = channels, I = those of the input, O = of the output, T = frames.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.models import Wav2Vec2Model

from unitlang.features.hubert_parts.moments import HOP, TAPS, Moments
from unitlang.frames import HUBERT_GRID
from unitlang.products import product

CHUNK_FRAMES = {"cpu": 100, "cuda": 3000}
"""Frames that go through the convolutions at once, by device type.

On a CPU 50 to 200 were the fastest by trial: a whole utterance at once takes up to a fifth longer, mostly to map fresh
memory.
"""

_LEVEL_EPSILON = 1e-5
"""Added to the variance of the waveform, as in the layer norms of fairseq and torch."""


class FirstConvolution:
    """The first convolution, with everything that normalises by statistics of a whole utterance folded in.

    Args:
        model: torchaudio's model.
        normalize: whether the model expects waveforms of mean 0 and variance 1.
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
        """Return weight_KC and bias_C, float32, for the utterance with these moments."""
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


class FrontEnd(nn.Module):
    """All convolutions, with their norms and GELU.

    Args:
        model: torchaudio's model.
        dtype: precision of the products after the first convolution.
    """

    def __init__(self, model: Wav2Vec2Model, dtype: torch.dtype) -> None:
        super().__init__()
        blocks: Any = model.feature_extractor.conv_layers
        norm = blocks[0].layer_norm
        self.first_norm = plain_norm(norm) if isinstance(norm, nn.LayerNorm) else None
        self.convolutions = nn.ModuleList(_convolution(block, dtype) for block in blocks[1:])

    def forward(self, waveform_N: Tensor, weight_KC: Tensor, bias_C: Tensor, frames: int) -> Tensor:
        """Return the first frames_TC of a waveform.

        Args:
            waveform_N: float32.
            weight_KC: weights of the first convolution for this waveform.
            bias_C: its biases.
            frames: number of frames, T.
        """
        size = CHUNK_FRAMES[waveform_N.device.type]
        parts = [
            self._chunk(waveform_N[first * HUBERT_GRID.hop :], weight_KC, bias_C, min(size, frames - first))
            for first in range(0, frames, size)
        ]
        return torch.cat(parts)

    def _chunk(self, waveform_N: Tensor, weight_KC: Tensor, bias_C: Tensor, frames: int) -> Tensor:
        needed = self._samples(frames)
        samples_N = waveform_N[:needed]
        # Pads with the last sample, not zero: after an offset, a step would cost the last frame digits in
        # `TripleConvolution`.
        samples_N = torch.cat([samples_N, samples_N[-1:].expand(needed - len(samples_N))])
        x_LC = torch.addmm(bias_C, samples_N.unfold(0, TAPS, HOP), weight_KC)
        if self.first_norm is not None:
            x_LC = self.first_norm(x_LC)
        x_LC = functional.gelu(x_LC)
        for convolution in self.convolutions:
            x_LC = convolution(x_LC)
        return x_LC[:frames]

    def _samples(self, positions: int) -> int:
        """Number of samples for this many frames, rounded up to what the convolutions between them need."""
        convolutions: Any = self.convolutions
        for convolution in reversed(convolutions):
            positions = convolution.reach(positions)
        return (positions - 1) * HOP + TAPS


class PlainConvolution(nn.Module):
    """A convolution of stride 2 with two or three taps: the rows under one position are contiguous in memory."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        super().__init__()
        weight_KIO: Tensor = block.conv.weight.detach().permute(2, 1, 0)
        self.taps = len(weight_KIO)
        self.weight = _frozen(weight_KIO.flatten(0, 1).to(dtype))
        self.finish = _Finish(block, dtype)

    def reach(self, positions: int) -> int:
        """Number of input rows that this many positions need."""
        return 2 * positions + self.taps - 2

    def forward(self, x_LI: Tensor) -> Tensor:
        """Compute as many positions as there are rows for; three taps overlap, so their rows are copied."""
        x_LI = x_LI.to(self.weight.dtype).contiguous()
        length, channels = x_LI.shape
        positions = (length - self.taps) // 2 + 1
        return self.finish(product(x_LI.as_strided((positions, len(self.weight)), (2 * channels, 1)), self.weight))


class TripleConvolution(nn.Module):
    """A convolution of stride 2 and three taps that computes three positions with 7 products instead of 9.

    The first and the third tap see only the even rows. On these they are a filter of two taps, of which Winograd's
    F(3, 2) computes three outputs with four products (arXiv 1509.09308, sec. 4.1, with the points 0, 1, -1 and
    infinity). The odd rows and the second tap are multiplied directly. The rounding error is relative to the largest
    of the four even rows under three positions, and up to three times that of the plain sum (measured).
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        first_IO, second_IO, third_IO = block.conv.weight.detach().permute(2, 1, 0).double().unbind()
        self.first, self.second, self.third = _frozen(first_IO), _frozen(second_IO), _frozen(third_IO)
        self.half_sum = _frozen((first_IO + third_IO) / 2)
        self.half_difference = _frozen((first_IO - third_IO) / 2)
        self.finish = _Finish(block, torch.float32)

    def reach(self, positions: int) -> int:
        """Number of input rows for this many positions, rounded up to a multiple of three."""
        return 6 * -(-positions // 3) + 1

    def forward(self, x_LI: Tensor) -> Tensor:
        """Compute as many positions as there are rows for, rounded down to a multiple of three."""
        triples = (len(x_LI) - 1) // 6
        x_PO = product(x_LI[1 : 6 * triples : 2], self.second)
        a_RI, b_RI, c_RI, d_RI = (x_LI[start : 6 * triples + 1 : 6][:triples] for start in (0, 2, 4, 6))
        one_RO, two_RO, three_RO = x_PO.view(triples, 3, -1).unbind(1)
        one_RO += product(a_RI - c_RI, self.first)
        three_RO += product(d_RI - b_RI, self.third)
        plus_RO, minus_RO = product(b_RI + c_RI, self.half_sum), product(c_RI - b_RI, self.half_difference)
        both_RO = plus_RO + minus_RO
        one_RO += both_RO
        two_RO += plus_RO.sub_(minus_RO)
        three_RO += both_RO
        return self.finish(x_PO)


class _Finish(nn.Module):
    """The operations after a convolution: its bias and norm, if any, and GELU."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        super().__init__()
        bias_O: Tensor | None = block.conv.bias
        self.bias = None if bias_O is None else _frozen(bias_O.detach().to(dtype))
        self.norm = None if block.layer_norm is None else plain_norm(block.layer_norm)

    def forward(self, x_PO: Tensor) -> Tensor:
        if self.bias is not None:
            x_PO += self.bias
        return functional.gelu(x_PO if self.norm is None else self.norm(x_PO.float()))


def _convolution(block: Any, dtype: torch.dtype) -> nn.Module:
    """Choose the convolution: differences of rows lose digits in less than float32."""
    fast = dtype == torch.float32 and block.conv.weight.shape[2] == 3
    return TripleConvolution(block) if fast else PlainConvolution(block, dtype)


def plain_norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    """Return a layer norm over the last dimension; torchaudio's own for convolutions transposes first."""
    plain = nn.LayerNorm(list(norm.normalized_shape), norm.eps)
    plain.load_state_dict(norm.state_dict())
    return plain


def _frozen(weight: Tensor) -> nn.Parameter:
    dtype = torch.float32 if weight.dtype == torch.float64 else weight.dtype
    return nn.Parameter(weight.to(dtype).contiguous(), requires_grad=False)
