"""HuBERT's positional convolution by Fourier transforms: a tenth of the products of 128 taps in each of 16 groups."""

# Shapes: T = frames, D = model dims, G = groups, I = inputs of a group, O = its outputs, K = taps, M = blocks,
# S = frames of a block, F = frequencies, X = frequencies of all groups, G within F.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class PositionalConvolution(nn.Module):
    """The convolution and GELU, for several utterances at once; in float32.

    Uses overlap-save: blocks of twice the taps, which overlap by all taps but one.

    Args:
        convolution: torchaudio's, over (D, T), with zeros on both sides and without weight norm.

    Raises:
        ValueError: the convolution has no bias.
    """

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        weight_OIK = convolution.weight.detach()
        bias_O = convolution.bias
        if bias_O is None:
            raise ValueError("the positional convolution has no bias")
        self.groups = convolution.groups
        self.pad = int(convolution.padding[0])
        self.block = 2 * weight_OIK.shape[2]
        self.hop = self.block - weight_OIK.shape[2] + 1
        # torch's convolution is a correlation: conjugate the spectrum of its taps
        weight_GOIF = torch.fft.rfft(weight_OIK, self.block).conj().unflatten(0, (self.groups, -1))
        weight_FGIO = weight_GOIF.permute(3, 0, 2, 1)
        weight_XIO = weight_FGIO.flatten(0, 1).resolve_conj().contiguous()
        self.register_buffer("weight", torch.view_as_real(weight_XIO))
        self.bias = nn.Parameter(bias_O.detach(), requires_grad=False)

    def forward(self, x_TD: Tensor, frames: Sequence[int]) -> Tensor:
        """Return y_TD of concatenated utterances, each convolved on its own.

        Args:
            x_TD: the utterances concatenated.
            frames: frames of each utterance.
        """
        cut = [self._blocks(part_TD) for part_TD in x_TD.split(list(frames))]
        convolved = self._convolved(torch.cat(cut, 1)).split([blocks_DMS.shape[1] for blocks_DMS in cut], 1)
        parts = [y_DMS.flatten(1)[:, :count] for y_DMS, count in zip(convolved, frames, strict=True)]
        return functional.gelu(torch.cat(parts, 1) + self.bias[:, None]).T

    def _blocks(self, x_TD: Tensor) -> Tensor:
        frames = len(x_TD)
        blocks = -(-frames // self.hop)
        right = (blocks - 1) * self.hop + self.block - self.pad - frames
        return functional.pad(x_TD.T, (self.pad, right)).unfold(1, self.block, self.hop)

    def _convolved(self, x_DMS: Tensor) -> Tensor:
        blocks = x_DMS.shape[1]
        x_GIMF = torch.fft.rfft(x_DMS).unflatten(0, (self.groups, -1))
        weight_XIO = torch.view_as_complex(self.get_buffer("weight"))
        y_XMO = torch.bmm(x_GIMF.permute(3, 0, 2, 1).flatten(0, 1), weight_XIO)
        y_GOMF = y_XMO.view(-1, self.groups, blocks, weight_XIO.shape[2]).permute(1, 3, 2, 0)
        return torch.fft.irfft(y_GOMF, self.block)[..., : self.hop].flatten(0, 1)
