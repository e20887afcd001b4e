"""The objective of each stage: the losses of `echox.losses`, weighted as in the paper and the released code."""

# Shapes: B = examples.

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from echox.errors import EchoxError
from echox.losses import cross_entropy, ctc, denoising, dynamic_weight
from echox.models.config import PartConfig
from echox.models.echo import EchoOutput
from echox.models.s2t import S2TOutput
from echox.models.scores import Predictions


@dataclass(frozen=True, kw_only=True)
class S2TLossConfig(PartConfig):
    """The loss of stage s2t."""

    ctc_weight: float = 0.3
    """Weight of CTC; the response's cross-entropy has weight 1."""


@dataclass(frozen=True, kw_only=True)
class EchoLossConfig(PartConfig):
    """The loss of stage echo: L_echo + lambda L_denoise + L_s2t (EchoX, eq. 4)."""

    denoising: Literal["plain", "dynamic"] = "plain"
    """Lambda: `plain` is `denoising_weight`, `dynamic` is the released code's, which depends on the batch."""
    denoising_weight: float = 0.2
    """Lambda of `plain`, for the mean over tokens; the paper does not give it. 0 turns the denoising loss off."""
    s2t_weight: float = 1.0
    """Weight of the cross-entropy of the annotated response, which trains LoRA; 0 leaves it out, as the released
    `finetune_kd` does, and freezes all of S2T."""


@dataclass(frozen=True)
class Objective:
    """The value to minimise: `total / count`.

    Attributes:
        total: sum over the batch, by whose `count` it weighs in a step with several.
        count: targets of the batch.
        parts: the losses that it consists of, each a mean, without gradient.
    """

    total: Tensor
    count: int
    parts: Mapping[str, Tensor]


def t2c_objective(words: Predictions) -> Objective:
    """Return the cross-entropy of the words."""
    total = cross_entropy(words)
    return Objective(total, words.count, {"words": _mean(total, words.count)})


def s2t_objective(output: S2TOutput, config: S2TLossConfig) -> Objective:
    """Return the cross-entropy of the response and CTC, as published: means over tokens and over examples.

    CTC of an example is per token of its transcript; examples without a transcript are not in the mean.
    """
    answer, transcript_B = cross_entropy(output.response), output.ctc.transcript.lengths_B
    per_token_B = ctc(output.ctc) / transcript_B.clamp(min=1)
    ctc_loss = per_token_B.sum() / (transcript_B > 0).sum().clamp(min=1)
    count = output.response.count
    parts = {"response": _mean(answer, count), "ctc": ctc_loss.detach()}
    return Objective(answer + config.ctc_weight * count * ctc_loss, count, parts)


def echo_objective(output: EchoOutput, config: EchoLossConfig) -> Objective:
    """Return L_echo + lambda L_denoise + L_s2t: means over words, segments' tokens, responses' tokens.

    Raises:
        EchoxError: `s2t_weight` is set, and the output has no scores of the response.
    """
    words, cosine = cross_entropy(output.words), denoising(output.denoised, output.text)
    count, tokens = output.words.count, int(output.denoised.lengths_B.sum())
    segments, unit = len(output.denoised.lengths_B), words / max(count, 1)
    mean = unit + _weighted_denoising(unit, cosine, tokens, segments, config)
    parts = {"words": _mean(words, count), "denoising": _mean(cosine, tokens)}
    if config.s2t_weight:
        if output.response is None:
            raise EchoxError(
                "s2t_weight: the model was run without `with_response`; ask for it, or set the weight to 0"
            )
        answer = cross_entropy(output.response)
        mean = mean + config.s2t_weight * answer / max(output.response.count, 1)
        parts["response"] = _mean(answer, output.response.count)
    return Objective(mean * count, count, parts)


def _weighted_denoising(unit: Tensor, cosine: Tensor, tokens: int, segments: int, config: EchoLossConfig) -> Tensor:
    """Return lambda L_denoise: of the mean over tokens, or, as in the released code, of the sum in each segment."""
    if config.denoising == "plain":
        return config.denoising_weight * cosine / max(tokens, 1)
    per_segment = cosine / max(segments, 1)
    return dynamic_weight(unit, per_segment) * per_segment


def _mean(total: Tensor, count: int) -> Tensor:
    return total.detach() / max(count, 1)
