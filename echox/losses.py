"""The losses of the stages, each a sum, so that batches and workers add up."""

# Shapes: B = examples, V = vocabulary, F = frames, T = tokens, H = hidden size.

import torch
from torch import Tensor
from torch.nn import functional

from echox.models.ragged import Ragged
from echox.models.scores import IGNORE, CtcScores, Predictions


def cross_entropy(predictions: Predictions) -> Tensor:
    """Return the sum over targets of -log softmax(logits)[target], in nats and float32; 0 without targets."""
    return functional.cross_entropy(
        predictions.logits_NV.float(), predictions.targets_N, ignore_index=IGNORE, reduction="sum"
    )


def ctc(scores: CtcScores) -> Tensor:
    """Return (B) nats of each transcript given its frames (Graves et al., 2006), float32.

    The value is 0 where the transcript is unknown or too long for its frames.
    """
    log_probs_BFV = scores.logits.values_BL.log_softmax(-1, dtype=torch.float32)
    losses_B = functional.ctc_loss(
        log_probs_BFV.transpose(0, 1),
        scores.transcript.values_BL,
        scores.logits.lengths_B,
        scores.transcript.lengths_B,
        blank=scores.blank,
        reduction="none",
        zero_infinity=True,
    )
    return losses_B.where(scores.transcript.lengths_B > 0, 0.0)


def denoising(denoised: Ragged, text: Ragged) -> Tensor:
    """Return the sum over tokens of 1 - cos(denoised state, text embedding), both (B, T, H); float32."""
    return (1 - functional.cosine_similarity(denoised.flat().float(), text.flat().float(), dim=-1)).sum()


def dynamic_weight(unit_loss: Tensor, denoising_loss: Tensor, share: float = 0.2) -> Tensor:
    """Return the weight that keeps the denoising loss at `share` of the unit loss, at most 1; without gradient.

    Args:
        unit_loss: unit loss, a mean over words.
        denoising_loss: denoising loss, a sum over tokens and a mean over examples.
        share: largest share; 0.2 in the released code.
    """
    limit = share * unit_loss.detach()
    return (limit / denoising_loss.detach().clamp(min=1e-12)).clamp(max=1.0)
