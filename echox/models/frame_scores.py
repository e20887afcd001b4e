"""Scores of frames over a large vocabulary, of which only a few columns and one sum are ever kept."""

# Shapes: B = examples, F = frames, K = frames of a chunk, H = hidden size, V = vocabulary, C = columns.

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 32
"""Frames of each example that are scored at once: 16 MB in float32 with Llama 3's vocabulary."""


class FrameScores(NamedTuple):
    """The part of the scores of frames that is kept.

    Attributes:
        best_BF: int64, the token with the highest score.
        columns_BFC: scores of the requested tokens, float32.
        sums_BF: log-sum-exp over the vocabulary, float32.
    """

    best_BF: Tensor
    columns_BFC: Tensor
    sums_BF: Tensor


def score(frames_BFH: Tensor, head_VH: Tensor, columns_BC: Tensor) -> FrameScores:
    """Score frames by chunks; the backward pass computes the scores of each chunk again.

    Args:
        frames_BFH: frames.
        head_VH: a row for each token of the vocabulary.
        columns_BC: int64, tokens of each example whose scores are kept; repetitions are allowed.
    """
    found: Any = _Scores.apply(frames_BFH, head_VH, columns_BC, _dtype(head_VH))
    return FrameScores(*found)


def best_tokens(frames_BFH: Tensor, head_VH: Tensor) -> Tensor:
    """Return (B, F) int64, the token with the highest score of each frame; without gradient."""
    with torch.no_grad():
        chunks = _chunks(frames_BFH, head_VH.to(_dtype(head_VH)))
        return torch.cat([scores_BKV.argmax(-1) for _, scores_BKV in chunks], dim=1)


def _dtype(head_VH: Tensor) -> torch.dtype:
    """Return the dtype in which a linear layer with this weight computes here."""
    device = head_VH.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else head_VH.dtype


def _chunks(frames_BFH: Tensor, head_VH: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the places of chunks among the frames, and their scores, (B, K, V), in the head's dtype."""
    for first in range(0, frames_BFH.size(1), CHUNK):
        chunk = slice(first, first + CHUNK)
        yield chunk, frames_BFH[:, chunk].to(head_VH.dtype) @ head_VH.T


class _Scores(torch.autograd.Function):
    """`FrameScores` of frames (B, F, H), head (V, H), columns (B, C) and the dtype of the products."""

    @staticmethod
    def forward(ctx: Any, frames_BFH: Tensor, head_VH: Tensor, columns_BC: Tensor, dtype: torch.dtype) -> Any:
        (examples, frames), columns = frames_BFH.shape[:2], columns_BC.size(1)
        best_BF = columns_BC.new_empty(examples, frames)
        columns_BFC = frames_BFH.new_empty(examples, frames, columns, dtype=torch.float32)
        sums_BF = frames_BFH.new_empty(examples, frames, dtype=torch.float32)
        for chunk, scores_BKV in _chunks(frames_BFH, head_VH.to(dtype)):
            best_BF[:, chunk] = scores_BKV.argmax(-1)
            columns_BFC[:, chunk] = scores_BKV.gather(2, _repeated(columns_BC, scores_BKV)).float()
            sums_BF[:, chunk] = scores_BKV.float().logsumexp(-1)
        ctx.save_for_backward(frames_BFH, head_VH, columns_BC, sums_BF)
        ctx.dtype = dtype
        ctx.mark_non_differentiable(best_BF)
        return best_BF, columns_BFC, sums_BF

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor, columns_BFC: Tensor, sums_BF: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - torch's takes any number
        frames_BFH, head_VH, columns_BC, whole_BF = ctx.saved_tensors
        cast_VH = head_VH.to(ctx.dtype)
        frames_grad_BFH = torch.empty_like(frames_BFH)
        head_grad_VH = torch.zeros_like(head_VH, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for chunk, scores_BKV in _chunks(frames_BFH, cast_VH):
            grad_BKV = scores_BKV.float().sub_(whole_BF[:, chunk, None]).exp_().mul_(sums_BF[:, chunk, None])
            grad_BKV.scatter_add_(2, _repeated(columns_BC, grad_BKV), columns_BFC[:, chunk])
            cast_BKV = grad_BKV.to(ctx.dtype)
            frames_grad_BFH[:, chunk] = (cast_BKV @ cast_VH).to(frames_BFH.dtype)
            if head_grad_VH is not None:
                inputs_BKH = frames_BFH[:, chunk].to(ctx.dtype)
                head_grad_VH += cast_BKV.flatten(0, 1).T @ inputs_BKH.flatten(0, 1)
        return frames_grad_BFH, None if head_grad_VH is None else head_grad_VH.to(head_VH.dtype), None, None


def _repeated(columns_BC: Tensor, scores_BKV: Tensor) -> Tensor:
    return columns_BC[:, None, :].expand(-1, scores_BKV.size(1), -1)
