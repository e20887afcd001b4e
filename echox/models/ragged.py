"""Sequences of unequal length in one tensor, padded to the right."""

# Shapes: B = sequences, L = positions of the longest, N = positions of all sequences without padding; `...` is
# nothing (ids) or a hidden size (embeddings, states).

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """Right-padded sequences; the values of the padding are never used.

    Attributes:
        values_BL: (B, L, ...) ids, embeddings or states.
        lengths_B: int64, 0 <= length <= L.
    """

    values_BL: Tensor
    lengths_B: Tensor

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> "Ragged":
        """Return sequences of ids, padded with 0."""
        longest = max(map(len, sequences), default=0)
        rows = [[*sequence, *[0] * (longest - len(sequence))] for sequence in sequences]
        values_BL = torch.tensor(rows, dtype=torch.int64, device=device).view(len(rows), longest)
        return cls(values_BL, torch.tensor([len(sequence) for sequence in sequences], device=device))

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "Ragged":
        """Return the same on a device."""
        return Ragged(
            self.values_BL.to(device, non_blocking=non_blocking), self.lengths_B.to(device, non_blocking=non_blocking)
        )

    @property
    def mask(self) -> Tensor:
        """(B, L), True where there is no padding."""
        positions_L = torch.arange(self.values_BL.size(1), device=self.values_BL.device)
        return positions_L < self.lengths_B[:, None]

    def flat(self) -> Tensor:
        """Return (N, ...), all sequences one after another, without padding."""
        places_N = self.mask.flatten().nonzero()[:, 0]  # the device is waited for once, not in the backward pass too
        return self.values_BL.flatten(0, 1)[places_N]

    def rows(self) -> list[Tensor]:
        """Return each sequence by itself, without padding."""
        return [row[:length] for row, length in zip(self.values_BL, self.lengths_B.tolist(), strict=True)]

    def cut(self, start_B: Tensor, lengths_B: Tensor) -> "Ragged":
        """Return `lengths_B` positions of each sequence from `start_B` on, which must exist."""
        positions_BL = start_B[:, None] + torch.arange(_longest(lengths_B), device=start_B.device)
        return Ragged(_gather(self.values_BL, positions_BL), lengths_B)

    def select(self, index_S: Tensor) -> "Ragged":
        """Return the sequences of `index_S`, in its order."""
        return Ragged(self.values_BL[index_S], self.lengths_B[index_S])

    def append(self, value: int) -> "Ragged":
        """Return the same ids with `value` after the last of each sequence."""
        padded_BL = torch.nn.functional.pad(self.values_BL, (0, 1))
        return Ragged(padded_BL.scatter(1, self.lengths_B[:, None], value), self.lengths_B + 1)


def stacked(batches: Sequence[Ragged]) -> Ragged:
    """Return the sequences of several batches, one batch after another."""
    longest = max(batch.values_BL.size(1) for batch in batches)
    padded = [
        torch.nn.functional.pad(values, (*(0, 0) * (values.dim() - 2), 0, longest - values.size(1)))
        for values in (batch.values_BL for batch in batches)
    ]
    return Ragged(torch.cat(padded), torch.cat([batch.lengths_B for batch in batches]))


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """Return the sequences of all parts, joined one by one, with padding at the end only."""
    lengths_B = torch.stack([part.lengths_B for part in parts]).sum(0)
    source_BL = torch.cat([part.values_BL for part in parts], dim=1)
    positions_L = torch.arange(_longest(lengths_B), device=lengths_B.device)
    index_BL = positions_L.expand(len(lengths_B), -1)
    end_B, shift_B = torch.zeros_like(lengths_B), torch.zeros_like(lengths_B)
    for part in parts[:-1]:  # later parts move to the right by the padding of this one
        end_B = end_B + part.lengths_B
        shift_B = part.values_BL.size(1) - part.lengths_B
        index_BL = index_BL + (positions_L >= end_B[:, None]) * shift_B[:, None]
    return Ragged(_gather(source_BL, index_BL), lengths_B)


def _longest(lengths_B: Tensor) -> int:
    return int(lengths_B.max()) if len(lengths_B) else 0


def _gather(values_BL: Tensor, index_BL: Tensor) -> Tensor:
    """Return `values_BL[b, index_BL[b, l]]`; indices of the padding that lie outside are moved to the last position."""
    index_BL = index_BL.clamp(max=max(values_BL.size(1) - 1, 0))
    return values_BL[torch.arange(len(values_BL), device=values_BL.device)[:, None], index_BL]
