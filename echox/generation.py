"""Batched greedy decoding with a cache of keys and values: answers in text, and words from text or from states."""

# Shapes: B = sequences, P = positions of a prefix, H = width of the language model, L = positions, D = width of the
# decoder, V = vocabulary, R = tokens written.

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
    """A causal model on embeddings: a language model or a word decoder."""

    def embed(self, ids: Tensor) -> Tensor:
        """(..., H) from ids (...)."""
        ...

    def states(self, inputs_BLH: Tensor, cache: "IncrementalStateBag | None" = None) -> Tensor:
        """(B, L, D)."""
        ...

    def logits(self, states: Tensor) -> Tensor:
        """(..., V) from states (..., D)."""
        ...


@dataclass(frozen=True)
class Written:
    """What a model has written.

    Attributes:
        tokens: (B, R) ids, without the one that ends.
        states: (B, R, D), for each of them the state that predicts it.
        ended_B: whether the ending token came within the limit.
    """

    tokens: Ragged
    states: Ragged
    ended_B: Tensor


def answer(s2t: S2T, speech: Ragged, prompt: Ragged, *, end: int, limit: int) -> Written:
    """The answers, in text, to spoken questions.

    Args:
        s2t: the model.
        speech: as in `S2TInputs`.
        prompt: as in `S2TInputs`.
        end: id of the token that ends the turn.
        limit: most tokens to write.
    """
    with _evaluating(s2t):
        return write_text(s2t.llm, s2t.prefix(speech, prompt), end=end, limit=limit)


def write_text(llm: LanguageModel, prefix: Ragged, *, end: int, limit: int) -> Written:
    """What the language model writes behind embeddings, (B, P, H)."""
    with _evaluating(llm):
        return write(llm, prefix, end=end, limit=_within(llm.config.decoder.max_length, prefix, limit))


def write_words(decoder: WordDecoder, prefix: Ragged, *, limit: int) -> Ragged:
    """(B, R) ids in the unit language: T2C's from text, Echo's from denoised states.

    Tokens of text and the row that begins words cannot be chosen.

    Args:
        decoder: the model.
        prefix: (B, P, H) of `T2C.prefix`, `Echo.text_prefix` or `Echo.frame`.
        limit: most words to write.
    """
    config = decoder.config
    first = config.text_vocabulary
    banned_J = torch.ones(first + config.rows, dtype=torch.bool, device=prefix.values_BL.device)
    banned_J[first : first + config.words] = False
    banned_J[config.end_id] = False
    limit = _within(config.decoder.max_length, prefix, limit)
    with _evaluating(decoder):
        tokens = write(decoder, prefix, end=config.end_id, limit=limit, banned_V=banned_J).tokens
    return Ragged((tokens.values_BL - first) * tokens.mask, tokens.lengths_B)


def write(writer: Writer, prefix: Ragged, *, end: int, limit: int, banned_V: Tensor | None = None) -> Written:
    """Greedy decoding of all sequences at once; each gets what it gets alone.

    The cache takes no padding. So all prefixes enter it together as far as the shortest goes, and from there on
    position by position, where a sequence whose prefix has ended already writes. So batches of like lengths are faster.

    Args:
        writer: the model, in evaluation mode and without gradients.
        prefix: (B, P, H) embeddings, at least one position each.
        end: id that ends a sequence.
        limit: most ids to write for each.
        banned_V: ids that are never chosen.
    """
    from fairseq2.nn import IncrementalStateBag

    lengths_B = prefix.lengths_B
    start, width = int(lengths_B.min()), prefix.values_BL.size(1)
    cache = IncrementalStateBag(max_num_steps=width + limit + 1)
    states_BD = writer.states(prefix.values_BL[:, :start], cache)[:, -1]
    cache.increment_step_nr(start)
    states: list[Tensor] = []
    tokens: list[Tensor] = []
    open_B = torch.ones_like(lengths_B, dtype=torch.bool)
    for position in range(start, width + limit):
        token_B = _best(writer.logits(states_BD), banned_V)
        states.append(states_BD)
        tokens.append(token_B)
        writing_B = position >= lengths_B
        open_B &= ~(writing_B & (token_B == end)) & (position + 1 < lengths_B + limit)
        if not open_B.any():
            break
        inputs_BH = writer.embed(token_B)
        if position < width:
            inputs_BH = torch.where(writing_B[:, None], inputs_BH, prefix.values_BL[:, position])
        states_BD = writer.states(inputs_BH[:, None], cache)[:, 0]
        cache.increment_step_nr()
    return _written(torch.stack(tokens, 1), torch.stack(states, 1), lengths_B - start, end, limit)


def _written(tokens_BL: Tensor, states_BLD: Tensor, start_B: Tensor, end: int, limit: int) -> Written:
    """Cut what was written out of what was computed.

    Args:
        tokens_BL: best token after each position from the shortest prefix's end on.
        states_BLD: the state that each of them was chosen from.
        start_B: where each sequence's own begins.
        end: id that ends a sequence.
        limit: most ids of each.
    """
    positions_L = torch.arange(tokens_BL.size(1), device=tokens_BL.device)
    own_BL = (positions_L >= start_B[:, None]) & (positions_L < start_B[:, None] + limit)
    ends_BL = own_BL & (tokens_BL == end)
    behind_BL = ends_BL.int().cumsum(1) > 0
    lengths_B = (own_BL & ~behind_BL).sum(1)
    tokens = Ragged(tokens_BL, start_B + lengths_B).cut(start_B, lengths_B)
    return Written(tokens, predicting_states(states_BLD, start_B + 1, lengths_B), ends_BL.any(1))


def _best(logits_BV: Tensor, banned_V: Tensor | None) -> Tensor:
    return (logits_BV if banned_V is None else logits_BV.masked_fill(banned_V, -torch.inf)).argmax(-1)


def _within(max_length: int, prefix: Ragged, limit: int) -> int:
    """The limit, or what the model's longest sequence leaves of it."""
    room = max_length - prefix.values_BL.size(1)
    if room < 1:
        raise EchoxError(f"max_length {max_length}: too short for a prefix of {prefix.values_BL.size(1)} positions")
    return min(limit, room)


@contextmanager
def _evaluating(model: nn.Module) -> Generator[None]:
    """Evaluation mode, in which the cache works and nothing is dropped, and no gradients; afterwards as before."""
    was = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in was.items():
            module.training = training
