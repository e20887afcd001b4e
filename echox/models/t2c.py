"""T2C: a decoder that reads text and writes the words of the unit language in which it is spoken."""

# Shapes: B = examples, T = tokens of text, P = positions of a prefix, W = words, L = positions, H = hidden size of the
# language model, D = hidden size of the decoder, V = text vocabulary, J = V + rows of the word table, N = targets.

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from echox.errors import EchoxError
from echox.models.alignment import predicting_states
from echox.models.cached import CachedDecoder
from echox.models.config import PartConfig
from echox.models.decoder import DecoderConfig, decode, make_decoder
from echox.models.ragged import Ragged, concatenate
from echox.models.scores import Predictions

Size = Literal["small", "medium", "base", "large"]
SIZES: dict[str, tuple[int, int, int, int]] = {
    "small": (4, 512, 8, 2048),
    "medium": (8, 768, 12, 2048),
    "base": (6, 512, 8, 2048),
}
"""Layers, hidden size, heads and intermediate size by size; `large` is two of the language model's layers."""


@dataclass(frozen=True, kw_only=True)
class T2CConfig(PartConfig):
    """T2C, and the Echo decoder, which starts as its copy.

    A sequence is `before`, text, `after`, begin, words, end. Begin and end are rows of the word table, unless `end`
    is a token of text: then there is no begin, and `after` must not be empty.
    """

    decoder: DecoderConfig
    """The layers."""
    text_hidden_size: int
    """H: hidden size of the language model, whose text embeddings T2C reads."""
    text_vocabulary: int
    """V: tokens of text."""
    words: int
    """Words of the unit language."""
    before: tuple[int, ...] = ()
    """Tokens of text before each text."""
    before_states: tuple[int, ...] | None = None
    """Tokens of text before the states that the Echo decoder reads in place of a text; null: those of `before`."""
    after: tuple[int, ...] = ()
    """Tokens of text after each text."""
    end: int | None = None
    """Token of text that ends the words; null: a row of the word table ends them."""

    def __post_init__(self) -> None:
        named = (*self.before, *(self.before_states or ()), *self.after, self.end or 0)
        if wrong := [token for token in named if token >= self.text_vocabulary]:
            problem = f"{wrong} are no tokens of a text vocabulary of {self.text_vocabulary}"
            raise EchoxError(f"before, before_states, after, end: {problem}")
        if self.end is not None and not self.after:
            raise EchoxError("after: must not be empty where `end` is set, as its last token predicts the first word")

    @property
    def rows(self) -> int:
        """Rows of the word table: words, then begin and end where it has them."""
        return self.words + (2 if self.end is None else 0)

    @property
    def begin_id(self) -> int | None:
        """Joint id before the first word."""
        return self.text_vocabulary + self.words if self.end is None else None

    @property
    def end_id(self) -> int:
        """Joint id after the last word."""
        return self.text_vocabulary + self.words + 1 if self.end is None else self.end

    @property
    def opening(self) -> tuple[int, ...]:
        """Joint ids between the text and the first word; the last one predicts it."""
        return self.after if self.begin_id is None else (*self.after, self.begin_id)


def t2c_layers(size: Size, language_model: DecoderConfig, max_length: int = 2048) -> DecoderConfig:
    """Return the layers of a released size, with the language model's rotary positions."""
    if size == "large":
        layers, heads = 2, language_model.heads
        hidden_size, intermediate_size = language_model.hidden_size, language_model.intermediate_size
    else:
        layers, hidden_size, heads, intermediate_size = SIZES[size]
    return DecoderConfig(
        layers=layers,
        hidden_size=hidden_size,
        heads=heads,
        key_value_heads=heads if size == "medium" else language_model.key_value_heads,
        intermediate_size=intermediate_size,
        max_length=max_length,
        rope_theta=language_model.rope_theta,
        rope_scaling=language_model.rope_scaling,
    )


class WordDecoder(nn.Module):
    """A decoder that writes words after a prefix of text embeddings (T2C) or denoised states (Echo).

    Joint ids count the text vocabulary first and the word table after it.
    """

    def __init__(self, config: T2CConfig) -> None:
        super().__init__()
        self.config = config
        joint = config.text_vocabulary + config.rows
        self.word_embedding = nn.Embedding(config.rows, config.text_hidden_size)
        self.input_projection = nn.Linear(config.text_hidden_size, config.decoder.hidden_size)
        self.decoder = make_decoder(config.decoder)
        self.head = nn.Linear(config.decoder.hidden_size, joint, bias=False)
        nn.init.normal_(self.word_embedding.weight, std=config.text_hidden_size**-0.5)
        nn.init.normal_(self.head.weight, std=config.decoder.hidden_size**-0.5)

    def forward(self, prefix: Ragged, words: Ragged) -> Predictions:
        """Compute the scores of teacher forcing: logits_NJ of every word and of the end, targets in joint ids.

        Args:
            prefix: (B, P, H), made by `wrap_text` or `wrap_states`.
            words: (B, W) ids in the unit language, `0 <= word < config.words`.
        """
        embedded = Ragged(self.word_embedding(words.values_BL), words.lengths_B)
        inputs = concatenate([prefix, embedded])
        states_BLD = self.states(inputs.values_BL)
        predicting = predicting_states(states_BLD, prefix.lengths_B, words.lengths_B + 1)
        shifted = Ragged(words.values_BL + self.config.text_vocabulary, words.lengths_B)
        targets = shifted.append(self.config.end_id)
        return Predictions(self.logits(predicting.flat()), targets.flat(), targets.lengths_B)

    def wrap_text(self, text: Ragged, embed_text: Callable[[Tensor], Tensor]) -> Ragged:
        """Return (B, P, H), T2C's prefix of the words: embeddings of a text, with the tokens before and after it.

        Args:
            text: (B, T, H) embeddings.
            embed_text: maps ids to the language model's embeddings.
        """
        return self._wrap(self.config.before, text, embed_text)

    def wrap_states(self, states: Ragged, embed_text: Callable[[Tensor], Tensor]) -> Ragged:
        """Return (B, P, H), Echo's prefix of the words: denoised states, with the tokens before and after them.

        Args:
            states: (B, T, H) denoised states.
            embed_text: maps ids to the language model's embeddings.
        """
        before = self.config.before if self.config.before_states is None else self.config.before_states
        return self._wrap(before, states, embed_text)

    def _wrap(self, before: tuple[int, ...], content: Ragged, embed_text: Callable[[Tensor], Tensor]) -> Ragged:
        opening = self._constant(self.config.opening, content, embed_text)
        return concatenate([self._constant(before, content, embed_text), content, opening])

    def embed(self, ids: Tensor) -> Tensor:
        """Return (..., H) embeddings of words in joint ids; a token of text that ends the words has none."""
        rows = (ids - self.config.text_vocabulary).clamp(min=0)
        return self.word_embedding(rows)

    @property
    def max_length(self) -> int:
        """Longest sequence, in positions."""
        return self.config.decoder.max_length

    def states(self, inputs_BLH: Tensor) -> Tensor:
        """Return (B, L, D) states after the last norm, from embeddings (B, L, H)."""
        return decode(self.decoder, self.input_projection(inputs_BLH))

    def cached(self) -> CachedDecoder:
        """Return its layers, with an empty cache."""
        return CachedDecoder(self.decoder, self.input_projection)

    def logits(self, states: Tensor) -> Tensor:
        """Return (..., J) scores over the joint vocabulary, of states (..., D)."""
        return self.head(states)

    def _constant(self, ids: tuple[int, ...], like: Ragged, embed_text: Callable[[Tensor], Tensor]) -> Ragged:
        """Return the same ids for each example, embedded by the table that has them."""
        ids_L = torch.tensor(ids, dtype=torch.int64, device=like.values_BL.device)
        vocabulary = self.config.text_vocabulary
        text_LH = embed_text(ids_L.clamp(max=vocabulary - 1))
        values_LH = torch.where((ids_L < vocabulary)[:, None], text_LH, self.embed(ids_L).to(text_LH.dtype))
        return Ragged(values_LH.expand(len(like.lengths_B), -1, -1), torch.full_like(like.lengths_B, len(ids)))


class T2C(nn.Module):
    """The model of stage t2c: a word decoder and the language model's text embeddings, frozen."""

    def __init__(self, config: T2CConfig, text_table_VH: Tensor) -> None:
        super().__init__()
        self.text_embedding = nn.Embedding.from_pretrained(text_table_VH, freeze=True)
        self.words = WordDecoder(config)

    def forward(self, text: Ragged, words: Ragged) -> Predictions:
        """Compute the scores of teacher forcing.

        Args:
            text: (B, T) ids of text.
            words: (B, W) ids in the unit language.
        """
        return self.words(self.prefix(text), words)

    def prefix(self, text: Ragged) -> Ragged:
        """Return (B, P, H), the prefix of the words of a text."""
        content = Ragged(self.text_embedding(text.values_BL), text.lengths_B)
        return self.words.wrap_text(content, self.text_embedding)
