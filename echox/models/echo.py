"""Echo training: a decoder speaks from the language model's states what T2C says of their text."""

# Shapes: B = examples, S = segments of their responses, R = tokens of a response, T = tokens of a segment, W = words,
# P = positions of a prefix, H = width of the language model, I = inner width of the denoising adapter.

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from echox.losses import Predictions
from echox.models.config import PartConfig
from echox.models.ragged import Ragged
from echox.models.s2t import S2T, S2TInputs
from echox.models.t2c import WordDecoder

if TYPE_CHECKING:
    from echox.presets import Architecture


@dataclass(frozen=True, kw_only=True)
class EchoConfig(PartConfig):
    """The denoising adapter; the Echo decoder itself is T2C's copy."""

    inner: int
    """I: inner width of the denoising adapter."""
    dropout: float = 0.1
    """Dropout between its two layers."""


@dataclass(frozen=True)
class Segments:
    """Stretches of responses, each an example of its own, as in streaming.

    Attributes:
        example_S: int64, the example that a segment is of.
        start_S: index of its first token in the response.
        lengths_S: number of its tokens; the token that ends the turn belongs to none.
    """

    example_S: Tensor
    start_S: Tensor
    lengths_S: Tensor

    @classmethod
    def whole(cls, response_lengths_B: Tensor) -> "Segments":
        """Each response but for its last token, the end of the turn, as one segment."""
        example_S = torch.arange(len(response_lengths_B), device=response_lengths_B.device)
        return cls(example_S, torch.zeros_like(response_lengths_B), response_lengths_B - 1)

    def of(self, responses: Ragged) -> Ragged:
        """(S, T, ...): the segments' part of (B, R, ...) values, one for each token of a response."""
        return responses.select(self.example_S).cut(self.start_S, self.lengths_S)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "Segments":
        """The same on a device."""
        parts = (self.example_S, self.start_S, self.lengths_S)
        return Segments(*(part.to(device, non_blocking=non_blocking) for part in parts))


@dataclass(frozen=True)
class EchoOutput:
    """What Echo training compares.

    Attributes:
        words: logits_NJ of the segments' words, given the denoised states.
        denoised: (S, T, H) denoised states.
        text: (S, T, H) embeddings of the tokens that these states predict, without gradient.
        response: logits_NV of the responses' tokens, where they were asked for.
    """

    words: Predictions
    denoised: Ragged
    text: Ragged
    response: Predictions | None


class DenoisingAdapter(nn.Module):
    """From the language model's states towards its text embeddings."""

    def __init__(self, config: EchoConfig, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, config.inner)
        self.dropout = nn.Dropout(config.dropout)
        self.down = nn.Linear(config.inner, width)

    def forward(self, states: Tensor) -> Tensor:
        """(..., H) to (..., H)."""
        return self.down(self.dropout(self.up(states).relu()))


class Echo(nn.Module):
    """S2T, the frozen T2C that makes pseudo-labels, the denoising adapter and the Echo decoder.

    The language model's embedding table is the text table of T2C and of the Echo decoder.
    """

    def __init__(self, architecture: "Architecture", placeholder: int) -> None:
        super().__init__()
        self.s2t = S2T(architecture, placeholder)
        self.t2c = WordDecoder(architecture.t2c)
        self.denoising = DenoisingAdapter(architecture.echo, architecture.llm.decoder.width)
        self.words = copy.deepcopy(self.t2c)

    def start_from_t2c(self) -> None:
        """Make the Echo decoder a copy of T2C, whose trained weights have been put in."""
        self.words.load_state_dict(self.t2c.state_dict())

    def forward(
        self, inputs: S2TInputs, segments: Segments, words: Ragged, *, with_response: bool = False
    ) -> EchoOutput:
        """Teacher forcing.

        Args:
            inputs: with the responses whose states Echo speaks from.
            segments: of the responses.
            words: (S, W) ids in the unit language, of T2C or annotated.
            with_response: score the responses too, for the loss of s2t; their logits are large.
        """
        states = self.s2t.listen(inputs)[1]  # the scores for CTC are not kept
        denoised = self.denoise(segments.of(states))
        with torch.no_grad():
            tokens = segments.of(inputs.response)
            text = Ragged(self.s2t.llm.embed(tokens.values_BL), tokens.lengths_B)
        response = self.s2t.predict(states, inputs.response) if with_response else None
        return EchoOutput(self.words(self.frame(denoised), words), denoised, text, response)

    def denoise(self, states: Ragged) -> Ragged:
        """(S, T, H) from the states that predict a segment's tokens."""
        return Ragged(self.denoising(states.values_BL), states.lengths_B)

    def frame(self, denoised: Ragged) -> Ragged:
        """(S, P, H): what the words of a segment follow in the Echo decoder."""
        return self.words.frame(denoised, self.s2t.llm.embed)

    def text_prefix(self, text: Ragged) -> Ragged:
        """(S, P, H): what the words follow in T2C, for ids of text (S, T)."""
        content = Ragged(self.s2t.llm.embed(text.values_BL), text.lengths_B)
        return self.t2c.frame(content, self.s2t.llm.embed)

    def freeze(self, *, train_s2t: bool = False) -> None:
        """Let gradients flow only to the denoising adapter, the Echo decoder and, if asked for, what s2t trains.

        CTC has no part in this stage, so its head stays; the language model's head learns from the response's loss
        alone, which must then be asked for.
        """
        self.requires_grad_(True)
        if train_s2t:
            self.s2t.freeze()
            self.s2t.adapter.ctc_head.requires_grad_(False)
        else:
            self.s2t.requires_grad_(False)
        self.t2c.requires_grad_(False)

    def train(self, mode: bool = True) -> "Echo":
        """As in torch, but T2C, and S2T where nothing of it is trained, stay in evaluation mode."""
        super().train(mode)
        self.t2c.eval()
        if not any(parameter.requires_grad for parameter in self.s2t.parameters()):
            self.s2t.eval()
        return self
