"""Scores by chunks against one product and torch's own CTC."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from echox.losses import ctc
from echox.models.frame_scores import CHUNK, best_tokens, score
from echox.models.ragged import Ragged
from echox.models.scores import CtcScores
from tests.echox.memory import MB, peak

BLANK = 3
FRAMES = Ragged(torch.empty(0), torch.tensor([2 * CHUNK + 7, CHUNK, 5, 40]))
TRANSCRIPT = Ragged.of([[5, 9, 9, 9, 5, 1, 9], [0, 0], [7, 7, 7, 7], []])
"""Repetitions of neighbours and of others; one transcript too long for its frames; one unknown."""


def by_chunks(frames_BFH: Tensor, head_VH: Tensor, lengths_B: Tensor, transcript: Ragged) -> Tensor:
    columns_BC = functional.pad(transcript.values_BL, (1, 0), value=BLANK)
    _, columns_BFC, sums_BF = score(frames_BFH, head_VH, columns_BC)
    return ctc(CtcScores(Ragged(columns_BFC, lengths_B), sums_BF, transcript))


def at_once(frames_BFH: Tensor, head_VH: Tensor, lengths_B: Tensor, transcript: Ragged) -> Tensor:
    """The plain computation, in float64."""
    losses_B = functional.ctc_loss(
        (frames_BFH.double() @ head_VH.double().T).log_softmax(-1).transpose(0, 1),
        transcript.values_BL,
        lengths_B,
        transcript.lengths_B,
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )
    return losses_B.where(transcript.lengths_B > 0, 0.0)


def made(hidden: int = 16, vocabulary: int = 50) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    frames_BFH = torch.randn(4, int(FRAMES.lengths_B.max()), hidden, requires_grad=True)
    return frames_BFH, (torch.randn(vocabulary, hidden) * 0.5).requires_grad_()


def test_losses_and_gradients_are_those_of_the_whole_scores() -> None:
    frames_BFH, head_VH = made()
    weights_B = torch.tensor([1.0, 0.5, 2.0, 1.0])
    found: list[tuple[Tensor, ...]] = []
    for way in (by_chunks, at_once):
        losses_B = way(frames_BFH, head_VH, FRAMES.lengths_B, TRANSCRIPT)
        found.append((losses_B.detach(), *torch.autograd.grad((losses_B * weights_B).sum(), (frames_BFH, head_VH))))
    assert found[0][0][2:].tolist() == [0.0, 0.0]
    assert found[0][0][:2].min() > 10.0
    for mine, plain in zip(*found, strict=True):
        torch.testing.assert_close(mine, plain.to(mine.dtype), rtol=1e-5, atol=1e-5)


def test_a_frozen_head_lets_gradients_through() -> None:
    frames_BFH, head_VH = made()
    by_chunks(frames_BFH, head_VH.detach(), FRAMES.lengths_B, TRANSCRIPT).sum().backward()
    (expected,) = torch.autograd.grad(at_once(frames_BFH, head_VH, FRAMES.lengths_B, TRANSCRIPT).sum(), frames_BFH)
    assert frames_BFH.grad is not None
    torch.testing.assert_close(frames_BFH.grad, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_the_best_tokens_are_those_of_a_linear_layer(autocast: bool) -> None:
    frames_BFH, head_VH = made()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected_BF = functional.linear(frames_BFH, head_VH).argmax(-1)
        assert best_tokens(frames_BFH, head_VH).equal(expected_BF)
        assert score(frames_BFH, head_VH, TRANSCRIPT.values_BL).best_BF.equal(expected_BF)


def test_gradients_under_autocast_are_those_of_float32_within_its_precision() -> None:
    frames_BFH, head_VH = made()
    (expected,) = torch.autograd.grad(at_once(frames_BFH, head_VH, FRAMES.lengths_B, TRANSCRIPT).sum(), head_VH)
    with torch.autocast("cpu", torch.bfloat16):
        loss = by_chunks(frames_BFH, head_VH, FRAMES.lengths_B, TRANSCRIPT).sum()
    (found,) = torch.autograd.grad(loss, head_VH)
    assert found.dtype == torch.float32
    assert (found - expected).norm() < 0.02 * expected.norm()


def test_an_example_takes_less_than_50_mb_with_the_vocabulary_of_llama_3() -> None:
    """15 s of speech are 375 frames; the head's own gradient does not grow with the examples."""
    vocabulary, hidden = 128_256, 8
    torch.manual_seed(0)
    frames_BFH = torch.randn(1, 375, hidden, requires_grad=True)
    head_VH = torch.randn(vocabulary, hidden, requires_grad=True)
    lengths_B, transcript = torch.tensor([375]), Ragged.of([list(range(1000, 1060))])

    def step() -> None:
        by_chunks(frames_BFH, head_VH, lengths_B, transcript).sum().backward()

    head_gradient = head_VH.numel() * 4 * 2  # the sum, and the chunk that is added to it
    assert peak(step) - head_gradient < 50 * MB
