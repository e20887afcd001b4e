"""Batched greedy decoding with a cache of keys and values: answers in text, and words from text or from states."""

# Shapes: B = sequences, P = positions of a prefix, H = hidden size of the language model, L = positions,
# D = hidden size of the decoder, V = vocabulary, R = tokens generated, A = sequences that are in the cache.

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from echox.errors import EchoxError
from echox.models.alignment import predicting_states
from echox.models.language_model import LanguageModel
from echox.models.ragged import Ragged
from echox.models.s2t import S2T
from echox.models.t2c import WordDecoder

if TYPE_CHECKING:
    from fairseq2.nn import IncrementalStateBag


class Writer(Protocol):
    """A causal model that reads embeddings: a language model or a word decoder."""

    def embed(self, ids: Tensor) -> Tensor:
        """Return (..., H) from ids (...)."""
        ...

    def states(self, inputs_BLH: Tensor, cache: "IncrementalStateBag | None" = None) -> Tensor:
        """Return (B, L, D)."""
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


def answer(s2t: S2T, speech: Ragged, prompt: Ragged, *, end: int, max_new_tokens: int) -> Written:
    """Generate the answers, in text, to spoken requests.

    Args:
        s2t: the model.
        speech: as in `S2TInputs`.
        prompt: as in `S2TInputs`.
        end: id of the token that ends the turn.
        max_new_tokens: most tokens to generate.

    Raises:
        EchoxError: the prefix fills the model's longest sequence.
    """
    with evaluating(s2t):
        return write_text(s2t.llm, s2t.prefix(speech, prompt), end=end, max_new_tokens=max_new_tokens)


def write_text(llm: LanguageModel, prefix: Ragged, *, end: int, max_new_tokens: int) -> Written:
    """Generate text after embeddings, (B, P, H).

    Args:
        llm: the language model.
        prefix: (B, P, H) embeddings.
        end: id of the token that ends the turn.
        max_new_tokens: most tokens to generate.

    Raises:
        EchoxError: the prefix fills the model's longest sequence.
    """
    most = _within(llm.config.decoder.max_length, prefix, max_new_tokens)
    with evaluating(llm):
        return write(llm, prefix, end=end, max_new_tokens=most)


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
    most = _within(config.decoder.max_length, prefix, max_new_tokens)
    with evaluating(decoder):
        tokens = write(decoder, prefix, end=config.end_id, max_new_tokens=most, banned_V=banned_J).tokens
    return Ragged((tokens.values_BL - first) * tokens.mask, tokens.lengths_B)


def write(writer: Writer, prefix: Ragged, *, end: int, max_new_tokens: int, banned_V: Tensor | None = None) -> Written:
    """Decode all sequences greedily at once; each gets the tokens that it gets alone.

    The cache takes no padding. So all prefixes enter it together up to the length of the shortest, and then position by
    position, while a sequence whose prefix has ended already generates. Batches of similar lengths are fastest.

    Args:
        writer: the model, in evaluation mode and without gradients.
        prefix: (B, P, H) embeddings, at least one position each.
        end: id that ends a sequence.
        max_new_tokens: most ids to generate for each.
        banned_V: ids that are never chosen.
    """
    start, longest = int(prefix.lengths_B.min()), prefix.values_BL.size(1)
    running = _Running(writer, prefix, start, longest + max_new_tokens)
    states: list[Tensor] = []
    tokens: list[Tensor] = []
    for position in range(start, longest + max_new_tokens):
        token_A = _best(writer.logits(running.states_AD), banned_V)
        states.append(running.spread(running.states_AD))
        tokens.append(running.spread(token_A))
        lengths_A = prefix.lengths_B[running.rows_A]
        writing_A = position >= lengths_A
        closed_A = (writing_A & (token_A == end)) | (position + 1 >= lengths_A + max_new_tokens)
        if running.close(closed_A):
            break
        inputs_AH = writer.embed(token_A)
        if position < longest:
            inputs_AH = torch.where(writing_A[:, None], inputs_AH, prefix.values_BL[running.rows_A, position])
        running.advance(inputs_AH)
    return _written(torch.stack(tokens, 1), torch.stack(states, 1), prefix.lengths_B - start, end, max_new_tokens)


class _Running:
    """The sequences in the cache (A of B); closed ones leave it once they are half of them."""

    def __init__(self, writer: Writer, prefix: Ragged, start: int, longest: int) -> None:
        from fairseq2.nn import IncrementalStateBag

        self.writer = writer
        self.size = len(prefix.lengths_B)
        self.rows_A = torch.arange(self.size, device=prefix.lengths_B.device)
        self.open_A = torch.ones_like(self.rows_A, dtype=torch.bool)
        self.cache = IncrementalStateBag(max_num_steps=longest + 1)
        self.states_AD = writer.states(prefix.values_BL[:, :start], self.cache)[:, -1]
        self.cache.increment_step_nr(start)

    def spread(self, values_A: Tensor) -> Tensor:
        """Return (B, ...) from (A, ...), with zeros for sequences that have left the cache."""
        return values_A.new_zeros(self.size, *values_A.shape[1:]).index_copy(0, self.rows_A, values_A)

    def close(self, closed_A: Tensor) -> bool:
        """Mark sequences as closed; return True when all are."""
        self.open_A &= ~closed_A
        return not bool(self.open_A.any())

    def advance(self, inputs_AH: Tensor) -> None:
        """Compute the states of the next position."""
        if 2 * int(self.open_A.sum()) <= len(self.rows_A):
            stay_A = self.open_A.nonzero()[:, 0]
            self.cache.reorder(stay_A)
            self.rows_A, self.open_A, inputs_AH = self.rows_A[stay_A], self.open_A[stay_A], inputs_AH[stay_A]
        self.states_AD = self.writer.states(inputs_AH[:, None], self.cache)[:, 0]
        self.cache.increment_step_nr()


def _written(tokens_BL: Tensor, states_BLD: Tensor, start_B: Tensor, end: int, max_new_tokens: int) -> Written:
    """Cut the generated tokens out of all positions that were computed.

    Args:
        tokens_BL: best token after each position from the end of the shortest prefix on.
        states_BLD: the state from which each of them was chosen.
        start_B: position of each sequence's first generated token.
        end: id that ends a sequence.
        max_new_tokens: most ids of each.
    """
    positions_L = torch.arange(tokens_BL.size(1), device=tokens_BL.device)
    own_BL = (positions_L >= start_B[:, None]) & (positions_L < start_B[:, None] + max_new_tokens)
    ends_BL = own_BL & (tokens_BL == end)
    behind_BL = ends_BL.int().cumsum(1) > 0
    lengths_B = (own_BL & ~behind_BL).sum(1)
    tokens = Ragged(tokens_BL, start_B + lengths_B).cut(start_B, lengths_B)
    return Written(tokens, predicting_states(states_BLD, start_B + 1, lengths_B), ends_BL.any(1))


def _best(logits_BV: Tensor, banned_V: Tensor | None) -> Tensor:
    return (logits_BV if banned_V is None else logits_BV.masked_fill(banned_V, -torch.inf)).argmax(-1)


def _within(max_length: int, prefix: Ragged, max_new_tokens: int) -> int:
    """Return `max_new_tokens`, or what the model's longest sequence leaves of it."""
    room = max_length - prefix.values_BL.size(1)
    if room < 1:
        raise EchoxError(f"max_length {max_length}: too short for a prefix of {prefix.values_BL.size(1)} positions")
    return min(max_new_tokens, room)


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
