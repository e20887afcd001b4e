"""Echo training: a decoder learns to write, from the language model's states, T2C's words for their text."""

# Shapes: B = examples, S = segments of their responses, R = tokens of a response, T = tokens of a segment, W = words,
# P = positions of a prefix, H = hidden size of the language model, I = inner dimensions of the denoising adapter.

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from echox.models.config import PartConfig
from echox.models.ragged import Ragged, stacked
from echox.models.s2t import S2T, S2TInputs
from echox.models.scores import Predictions
from echox.models.t2c import WordDecoder

if TYPE_CHECKING:
    from echox.architectures import Architecture


@dataclass(frozen=True, kw_only=True)
class EchoConfig(PartConfig):
    """The denoising adapter; the Echo decoder itself is a copy of T2C."""

    inner: int
    """I: inner dimensions of the adapter."""
    dropout: float = 0.1
    """Dropout between the two layers."""


@dataclass(frozen=True)
class Segments:
    """Pieces of responses, each an example of its own, as in streaming.

    Attributes:
        example_S: int64, the example of each segment.
        start_S: index of its first token in the response.
        lengths_S: number of its tokens; no segment includes the token that ends the turn.
    """

    example_S: Tensor
    start_S: Tensor
    lengths_S: Tensor

    @classmethod
    def whole(cls, response_lengths_B: Tensor) -> "Segments":
        """Return each response, without its last token, the end of the turn, as one segment."""
        example_S = torch.arange(len(response_lengths_B), device=response_lengths_B.device)
        return cls(example_S, torch.zeros_like(response_lengths_B), response_lengths_B - 1)

    def of(self, responses: Ragged) -> Ragged:
        """Return (S, T, ...), the segments of values (B, R, ...), which have one value per token of a response."""
        return responses.select(self.example_S).cut(self.start_S, self.lengths_S)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "Segments":
        """Return the same on a device."""
        parts = (self.example_S, self.start_S, self.lengths_S)
        return Segments(*(part.to(device, non_blocking=non_blocking) for part in parts))


@dataclass(frozen=True)
class EchoOutput:
    """The output of Echo in training.

    Attributes:
        words: logits_NJ of the segments' words, from the denoised states.
        denoised: (S, T, H) denoised states.
        text: (S, T, H) embeddings of the tokens that these states predict, without gradient.
        response: logits_NV of the tokens of the responses that S2T learns, if requested.
    """

    words: Predictions
    denoised: Ragged
    text: Ragged
    response: Predictions | None


class DenoisingAdapter(nn.Module):
    """Two layers that map the language model's states towards its text embeddings."""

    def __init__(self, config: EchoConfig, hidden_size: int) -> None:
        super().__init__()
        self.up = nn.Linear(hidden_size, config.inner)
        self.dropout = nn.Dropout(config.dropout)
        self.down = nn.Linear(config.inner, hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        """Map (..., H) to (..., H)."""
        return self.down(self.dropout(self.up(states).relu()))


class Echo(nn.Module):
    """S2T, the frozen T2C that writes pseudo-labels, the denoising adapter and the Echo decoder.

    The language model's embedding table is the text table of T2C and of the Echo decoder.
    """

    def __init__(self, architecture: "Architecture", placeholder: int) -> None:
        super().__init__()
        self.s2t = S2T(architecture, placeholder)
        self.t2c = WordDecoder(architecture.t2c)
        self.denoising = DenoisingAdapter(architecture.echo, architecture.llm.decoder.hidden_size)
        self.words = copy.deepcopy(self.t2c)

    def start_from_t2c(self) -> None:
        """Copy the trained weights of T2C into the Echo decoder."""
        self.words.load_state_dict(self.t2c.state_dict())

    def forward(
        self,
        inputs: S2TInputs,
        segments: Segments,
        words: Ragged,
        *,
        with_response: bool = False,
        annotated: Ragged | None = None,
    ) -> EchoOutput:
        """Compute the scores of teacher forcing.

        Args:
            inputs: inputs with the responses whose states Echo reads.
            segments: segments of the responses.
            words: (S, W) ids in the unit language, of T2C or annotated.
            with_response: score responses too, for the loss of s2t; their logits are large.
            annotated: (B, R) ids of the responses to score, where they are not those of `inputs`; the language model
                reads both, which doubles its work.
        """
        scored = inputs.response if annotated is None else annotated
        states, scored_states = self._states(inputs, annotated)
        denoised = self.denoise(segments.of(states))
        with torch.no_grad():
            tokens = segments.of(inputs.response)
            text = Ragged(self.s2t.llm.embed(tokens.values_BL), tokens.lengths_B)
        response = self.s2t.predict(scored_states, scored) if with_response else None
        return EchoOutput(self.words(self.wrap(denoised), words), denoised, text, response)

    def _states(self, inputs: S2TInputs, annotated: Ragged | None) -> tuple[Ragged, Ragged]:
        """Return (B, R, H), the states that predict the responses of `inputs`, and those of `annotated` or the same."""
        prefix = self.s2t.prefix(inputs.speech, inputs.prompt)
        if annotated is None:
            states = self.s2t.states(prefix, inputs.response)
            return states, states
        both = self.s2t.states(stacked([prefix, prefix]), stacked([inputs.response, annotated]))
        first_B = torch.arange(len(prefix.lengths_B), device=prefix.lengths_B.device)
        return both.select(first_B), both.select(first_B + len(first_B))

    def denoise(self, states: Ragged) -> Ragged:
        """Return (S, T, H) denoised states from the states that predict a segment's tokens."""
        return Ragged(self.denoising(states.values_BL), states.lengths_B)

    def wrap(self, denoised: Ragged) -> Ragged:
        """Return (S, P, H), the Echo decoder's prefix: the denoised states with the tokens around them."""
        return self.words.wrap_states(denoised, self.s2t.llm.embed)

    def text_prefix(self, text: Ragged) -> Ragged:
        """Return (S, P, H), the prefix of T2C, for ids of text (S, T)."""
        content = Ragged(self.s2t.llm.embed(text.values_BL), text.lengths_B)
        return self.t2c.wrap_text(content, self.s2t.llm.embed)

    def freeze(self, *, train_s2t: bool = False) -> None:
        """Let gradients flow only to the denoising adapter, the Echo decoder and, if requested, the language model.

        Of the language model, what it is configured to train: LoRA, or all. Encoder and adapter stay as they are. The
        language model's head learns from the loss of the response alone, which must then have a weight.
        """
        self.requires_grad_(True)
        self.s2t.requires_grad_(False)
        if train_s2t:
            self.s2t.llm.freeze()
        self.t2c.requires_grad_(False)

    def train(self, mode: bool = True) -> "Echo":
        """Set the mode as in torch, but keep what is not trained in evaluation mode: T2C, and all or most of S2T."""
        super().train(mode)
        self.t2c.eval()
        self.s2t.eval()
        self.s2t.llm.train(mode and any(parameter.requires_grad for parameter in self.s2t.llm.parameters()))
        return self
