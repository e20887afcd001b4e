"""HuBERT's convolutions for inference, a few seconds at a time, so that what lies between them stays in the caches.

They run as matrix products over [positions, channels], which needs neither transposing nor copying. The group norm
after the first one averages over the whole utterance: its statistics are known beforehand (`Moments`), and norm and
normalisation of the waveform are folded into that convolution's weights, one set an utterance.
"""

# Shapes: N = samples at 16 kHz, L = positions of a convolution, P = those of the next, K = taps, C = channels,
# T = frames, D = model dims.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.models import Wav2Vec2Model

from unitlang.features.moments import HOP, TAPS, Moments
from unitlang.frames import FRAME_HOP

CHUNK_FRAMES = {"cpu": 100, "cuda": 3000}
"""Frames that go through the convolutions at once, by type of device; what 2 s make of them fits a core's caches."""

_LEVEL_EPSILON = 1e-5
"""Added to the variance of the waveform, as fairseq's and torch's layer norm does."""


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


class FrontEnd(nn.Module):
    """All convolutions, with their norms and GELU.

    Args:
        model: torchaudio's model.
        dtype: of the products after the first convolution.
    """

    def __init__(self, model: Wav2Vec2Model, dtype: torch.dtype) -> None:
        super().__init__()
        blocks: Any = model.feature_extractor.conv_layers
        norm = blocks[0].layer_norm
        self.first_norm = plain_norm(norm) if isinstance(norm, nn.LayerNorm) else None
        self.convolutions = nn.ModuleList(_convolution(block, dtype) for block in blocks[1:])

    def forward(self, waveform_N: Tensor, weight_KC: Tensor, bias_C: Tensor, frames: int) -> Tensor:
        """So many frames_TC of a waveform, by its own weights of the first convolution."""
        size = CHUNK_FRAMES[waveform_N.device.type]
        parts = [
            self._chunk(waveform_N[first * FRAME_HOP :], weight_KC, bias_C, min(size, frames - first))
            for first in range(0, frames, size)
        ]
        return torch.cat(parts)

    def _chunk(self, waveform_N: Tensor, weight_KC: Tensor, bias_C: Tensor, frames: int) -> Tensor:
        samples_N = waveform_N[: self._samples(frames)]
        samples_N = functional.pad(samples_N, (0, self._samples(frames) - len(samples_N)))
        x_LC = torch.addmm(bias_C, samples_N.unfold(0, TAPS, HOP), weight_KC)
        if self.first_norm is not None:
            x_LC = self.first_norm(x_LC)
        x_LC = functional.gelu(x_LC)
        for convolution in self.convolutions:
            x_LC = convolution(x_LC)
        return x_LC[:frames]

    def _samples(self, positions: int) -> int:
        """Samples that make so many frames, and those that round up what lies between."""
        convolutions: Any = self.convolutions
        for convolution in reversed(convolutions):
            positions = convolution.reach(positions)
        return (positions - 1) * HOP + TAPS


class PairConvolution(nn.Module):
    """A convolution of stride 2 with two or three taps: positions lie in pairs in memory, each a row of a matrix."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        super().__init__()
        weight_KCC: Tensor = block.conv.weight.detach().permute(2, 1, 0).to(dtype)
        self.taps = len(weight_KCC)
        self.pair = _frozen(weight_KCC[:2].flatten(0, 1))
        self.third = _frozen(weight_KCC[2]) if self.taps > 2 else None
        self.finish = _Finish(block, dtype)

    def reach(self, positions: int) -> int:
        """Rows of input that so many positions need, at least."""
        return 2 * positions + self.taps - 2

    def forward(self, x_LC: Tensor) -> Tensor:
        """As many positions as there are rows for."""
        positions = (len(x_LC) - self.taps) // 2 + 1
        x_LC = x_LC.to(self.pair.dtype)
        x_PC = torch.mm(x_LC[: 2 * positions].view(positions, -1), self.pair)
        if self.third is not None:
            x_PC.addmm_(x_LC[2 : 2 * positions + 1 : 2], self.third)
        return self.finish(x_PC)


class TripleConvolution(nn.Module):
    """A convolution of stride 2 and three taps that makes three positions with 7 products where the plain sum has 9.

    The first and the third tap see the even rows alone. On these they are a filter of two taps, of which Winograd's
    F(3, 2) makes three outputs with four products (arXiv 1509.09308, sec. 4.1, with the points 0, 1, -1 and
    infinity). The odd rows and the second tap are multiplied as they are. In float32 it rounds as the plain sum does.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        first_CC, second_CC, third_CC = block.conv.weight.detach().permute(2, 1, 0).double().unbind()
        self.first, self.second, self.third = _frozen(first_CC), _frozen(second_CC), _frozen(third_CC)
        self.half_sum = _frozen((first_CC + third_CC) / 2)
        self.half_difference = _frozen((first_CC - third_CC) / 2)
        self.finish = _Finish(block, torch.float32)

    def reach(self, positions: int) -> int:
        """Rows of input for so many positions, rounded up to threes."""
        return 6 * -(-positions // 3) + 1

    def forward(self, x_LC: Tensor) -> Tensor:
        """As many positions as there are rows for, rounded down to threes."""
        triples = (len(x_LC) - 1) // 6
        x_PC = torch.mm(x_LC[1 : 6 * triples : 2], self.second)
        a_C, b_C, c_C, d_C = (x_LC[start : 6 * triples + 1 : 6][:triples] for start in (0, 2, 4, 6))
        one_C, two_C, three_C = x_PC.view(triples, 3, -1).unbind(1)
        one_C.addmm_(a_C - c_C, self.first)
        three_C.addmm_(d_C - b_C, self.third)
        plus_C, minus_C = torch.mm(b_C + c_C, self.half_sum), torch.mm(c_C - b_C, self.half_difference)
        both_C = plus_C + minus_C
        one_C += both_C
        two_C += plus_C.sub_(minus_C)
        three_C += both_C
        return self.finish(x_PC)


class _Finish(nn.Module):
    """What follows a convolution: its bias and norm, if any, and GELU."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        super().__init__()
        bias_C: Tensor | None = block.conv.bias
        self.bias = None if bias_C is None else _frozen(bias_C.detach().to(dtype))
        self.norm = None if block.layer_norm is None else plain_norm(block.layer_norm)

    def forward(self, x_PC: Tensor) -> Tensor:
        if self.bias is not None:
            x_PC += self.bias
        return functional.gelu(x_PC if self.norm is None else self.norm(x_PC.float()))


def _convolution(block: Any, dtype: torch.dtype) -> nn.Module:
    """Differences of rows would lose digits in less than float32."""
    fast = dtype == torch.float32 and block.conv.weight.shape[2] == 3
    return TripleConvolution(block) if fast else PairConvolution(block, dtype)


def plain_norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    """A layer norm over the last dimension: torchaudio's own for convolutions transposes first."""
    plain = nn.LayerNorm(list(norm.normalized_shape), norm.eps)
    plain.load_state_dict(norm.state_dict())
    return plain


def _frozen(weight: Tensor) -> nn.Parameter:
    dtype = torch.float32 if weight.dtype == torch.float64 else weight.dtype
    return nn.Parameter(weight.to(dtype).contiguous(), requires_grad=False)
