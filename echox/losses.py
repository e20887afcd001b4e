"""The losses of the stages, each a sum, so that batches and workers add up."""

# Shapes: B = examples, V = vocabulary, F = frames, C = tokens of a transcript, T = tokens, H = hidden size.

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

    The value is 0 where the transcript is unknown or too long for its frames. A path has one token of each frame, so
    probabilities among the transcript's tokens alone lack the same factor for all paths: the nats of the other tokens.
    In float32, the gradients of some hundred nats are off by 1e-4; columns this few cost little in float64.
    """
    columns, transcript = Ragged(scores.columns.values_BL.double(), scores.columns.lengths_B), scores.transcript
    targets_BC, fewest_B = _columns_of(transcript)
    among_B = functional.ctc_loss(
        columns.values_BL.log_softmax(-1).transpose(0, 1),
        targets_BC,
        columns.lengths_B,
        transcript.lengths_B,
        blank=0,
        reduction="none",
        zero_infinity=True,
    )
    others_B = ((scores.sums_BF - columns.values_BL.logsumexp(-1)) * columns.mask).sum(1)
    possible_B = (transcript.lengths_B > 0) & (fewest_B <= columns.lengths_B)
    return (among_B + others_B).where(possible_B, 0.0).float()


def _columns_of(transcript: Ragged) -> tuple[Tensor, Tensor]:
    """Return (B, C), the column of each token, and (B), the fewest frames that can spell a transcript.

    Equal neighbours need a blank between them, so they must have one column; other repetitions may have two.
    """
    tokens_BC = transcript.values_BL
    positions_C = torch.arange(tokens_BC.size(1), device=tokens_BC.device)
    repeats_BC = functional.pad(tokens_BC[:, 1:] == tokens_BC[:, :-1], (1, 0))[:, : tokens_BC.size(1)]
    first_BC = positions_C.where(~repeats_BC, 0).cummax(1).values
    return first_BC + 1, transcript.lengths_B + (repeats_BC & transcript.mask).sum(1)


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
