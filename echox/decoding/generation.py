"""Batched decoding with a cache of keys and values: answers in text, and words from text or from states."""

# Shapes: B = sequences, P = positions of a prefix, H = hidden size of the language model, L = positions,
# D = hidden size of the decoder, V = vocabulary, R = tokens generated, A = sequences that are in the cache.

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from echox.decoding.sampling import Draws, best, drawn
from echox.errors import EchoxError
from echox.models.cached import CachedDecoder
from echox.models.language_model import LanguageModel
from echox.models.ragged import Ragged
from echox.models.s2t import S2T
from echox.models.t2c import WordDecoder

STEPS_OF_A_LOOK = 8
"""Tokens after which a GPU is asked which sequences have ended: it must finish all work before it can answer."""


class Writer(Protocol):
    """A causal model that reads embeddings: a language model or a word decoder."""

    @property
    def max_length(self) -> int:
        """Longest sequence, in positions."""
        ...

    def embed(self, ids: Tensor) -> Tensor:
        """Return (..., H) from ids (...)."""
        ...

    def cached(self) -> CachedDecoder:
        """Return its layers, with an empty cache."""
        ...

    def logits(self, states: Tensor) -> Tensor:
        """Return (..., V) from states (..., D)."""
        ...


@dataclass(frozen=True)
class Written:
    """Generated sequences.

    Attributes:
        tokens: (B, R) ids, without the one that ends the sequence.
        states: (B, R, D), for each token the state that predicts it.
        ended_B: whether the sequence ended within `max_new_tokens`.
    """

    tokens: Ragged
    states: Ragged
    ended_B: Tensor


def answer(
    s2t: S2T, speech: Ragged, prompt: Ragged, *, end: int, max_new_tokens: int, draws: Draws | None = None
) -> Written:
    """Generate the answers, in text, to spoken requests.

    Args:
        s2t: the model.
        speech: as in `S2TInputs`.
        prompt: as in `S2TInputs`.
        end: id of the token that ends the turn.
        max_new_tokens: most tokens to generate.
        draws: as for `write`.

    Raises:
        EchoxError: the prefix fills the model's longest sequence.
    """
    with evaluating(s2t):
        prefix = s2t.prefix(speech, prompt)
        return write_text(s2t.llm, prefix, end=end, max_new_tokens=max_new_tokens, draws=draws)


def write_text(
    llm: LanguageModel, prefix: Ragged, *, end: int, max_new_tokens: int, draws: Draws | None = None
) -> Written:
    """Generate text after embeddings, (B, P, H).

    Args:
        llm: the language model.
        prefix: (B, P, H) embeddings.
        end: id of the token that ends the turn.
        max_new_tokens: most tokens to generate.
        draws: as for `write`.

    Raises:
        EchoxError: the prefix fills the model's longest sequence.
    """
    with evaluating(llm):
        return write(llm, prefix, end=end, max_new_tokens=max_new_tokens, draws=draws)


def write_words(decoder: WordDecoder, prefix: Ragged, *, max_new_tokens: int) -> Ragged:
    """Generate (B, R) ids in the unit language: T2C's from text, Echo's from denoised states.

    Tokens of text and the row that begins words cannot be chosen.

    Args:
        decoder: the model.
        prefix: (B, P, H), made by `T2C.prefix`, `Echo.text_prefix` or `Echo.wrap`.
        max_new_tokens: most words to generate.

    Raises:
        EchoxError: the prefix fills the model's longest sequence.
    """
    config = decoder.config
    first = config.text_vocabulary
    banned_J = torch.ones(first + config.rows, dtype=torch.bool, device=prefix.values_BL.device)
    banned_J[first : first + config.words] = False
    banned_J[config.end_id] = False
    with evaluating(decoder):
        tokens = write(decoder, prefix, end=config.end_id, max_new_tokens=max_new_tokens, banned_V=banned_J).tokens
    return Ragged((tokens.values_BL - first) * tokens.mask, tokens.lengths_B)


def write(
    writer: Writer,
    prefix: Ragged,
    *,
    end: int,
    max_new_tokens: int,
    banned_V: Tensor | None = None,
    draws: Draws | None = None,
) -> Written:
    """Decode all sequences at once; each gets the tokens that it gets alone.

    All prefixes enter the cache in one pass. Sequences that have ended leave it once they are half of it.

    Args:
        writer: the model, in evaluation mode and without gradients.
        prefix: (B, P, H) embeddings, at least one position each.
        end: id that ends a sequence.
        max_new_tokens: most ids to generate for each; fewer where its prefix leaves less of the longest sequence.
        banned_V: ids that are never chosen.
        draws: random numbers to draw tokens by; without them, the best ones are taken.

    Raises:
        EchoxError: a prefix fills the model's longest sequence.
    """
    limit_B = _within(writer.max_length, prefix, max_new_tokens)
    most = int(limit_B.max())
    running = _Running(writer, prefix, limit_B, end)
    states: list[Tensor] = []
    tokens: list[Tensor] = []
    for position in range(most):
        logits_AV = writer.logits(running.states_AD)
        if banned_V is not None:
            logits_AV = logits_AV.masked_fill(banned_V, -torch.inf)
        token_A = _chosen(logits_AV, draws, running.rows_A, position)
        states.append(running.spread(running.states_AD))
        tokens.append(running.spread(token_A))
        if running.close(token_A, position) or position + 1 == most:
            break
        running.advance(token_A)
    return _written(torch.stack(tokens, 1), torch.stack(states, 1), limit_B, end)


def _chosen(logits_AV: Tensor, draws: Draws | None, rows_A: Tensor, position: int) -> Tensor:
    if draws is None:
        return best(logits_AV)
    return drawn(logits_AV, draws.config, draws.uniform_BR[rows_A, position])


class _Running:
    """The sequences in the cache (A of B); closed ones leave it once they are half of them."""

    def __init__(self, writer: Writer, prefix: Ragged, limit_B: Tensor, end: int) -> None:
        self._writer = writer
        self._end = end
        self._limit_A = limit_B
        self._size = len(limit_B)
        self._decoder = writer.cached()
        self._open_A = torch.ones_like(limit_B, dtype=torch.bool)
        self._left = self._size
        self._looks = 1 if limit_B.device.type == "cpu" else STEPS_OF_A_LOOK
        self.rows_A = torch.arange(self._size, device=limit_B.device)
        self.states_AD = self._decoder.begin(prefix, int(limit_B.max()))

    def spread(self, values_A: Tensor) -> Tensor:
        """Return (B, ...) from (A, ...), with zeros for sequences that have left the cache."""
        if len(values_A) == self._size:
            return values_A
        return values_A.new_zeros(self._size, *values_A.shape[1:]).index_copy(0, self.rows_A, values_A)

    def close(self, token_A: Tensor, position: int) -> bool:
        """Note which sequences end with these tokens; return True when all are known to have ended."""
        self._open_A &= (token_A != self._end) & (position + 1 < self._limit_A)
        if position % self._looks == 0:
            self._left = int(self._open_A.sum())
        return not self._left

    def advance(self, token_A: Tensor) -> None:
        """Compute the states of the next position."""
        if 2 * self._left <= len(self.rows_A):
            stay = self._open_A.nonzero()[:, 0]
            self._decoder.keep(stay)
            self.rows_A, self._limit_A, self._open_A = self.rows_A[stay], self._limit_A[stay], self._open_A[stay]
            token_A = token_A[stay]
            self._left = len(stay)
        self.states_AD = self._decoder.advance(self._writer.embed(token_A))


def _written(tokens_BR: Tensor, states_BRD: Tensor, limit_B: Tensor, end: int) -> Written:
    """Cut the sequences out of all positions that were computed.

    Args:
        tokens_BR: chosen tokens.
        states_BRD: the states from which they were chosen.
        limit_B: most ids of each.
        end: id that ends a sequence.
    """
    positions_R = torch.arange(tokens_BR.size(1), device=tokens_BR.device)
    ends_BR = (positions_R < limit_B[:, None]) & (tokens_BR == end)
    behind_BR = ends_BR.int().cumsum(1) > 0
    lengths_B = ((positions_R < limit_B[:, None]) & ~behind_BR).sum(1)
    longest = int(lengths_B.max())
    states = Ragged(states_BRD[:, :longest], lengths_B)
    return Written(Ragged(tokens_BR[:, :longest], lengths_B), states, ends_BR.any(1))


def _within(max_length: int, prefix: Ragged, max_new_tokens: int) -> Tensor:
    """Return for each prefix `max_new_tokens`, or what the model's longest sequence leaves of it, (B,)."""
    longest = prefix.values_BL.size(1)
    if longest >= max_length:
        raise EchoxError(f"max_length {max_length}: too short for a prefix of {longest} positions")
    return (max_length - prefix.lengths_B).clamp(max=max_new_tokens)


@contextmanager
def evaluating(model: nn.Module) -> Generator[None]:
    """Switch to evaluation mode, which the cache needs, and turn gradients off; restore the modes afterwards."""
    was = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in was.items():
            module.training = training
