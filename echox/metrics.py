"""Metrics as fractions whose parts and wholes add up over batches and workers."""

# Shapes: B = examples, W = words.

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import editdistance
import torch

from echox.models.ragged import Ragged
from echox.models.scores import Predictions
from unitlang.language.unit_language import UnitLanguage


class Share(NamedTuple):
    """`part / whole`; a whole of 0 is no measurement."""

    part: float
    whole: float


def token_accuracy(predictions: Predictions) -> Share:
    """Return the share of targets with the highest score, given the correct tokens before them."""
    return Share(predictions.correct, predictions.count)


def edits(found: Sequence[Sequence[Hashable]], wanted: Sequence[Sequence[Hashable]]) -> Share:
    """Return insertions, deletions and substitutions per wanted symbol: an error rate, which may exceed 1."""
    errors = sum(editdistance.eval(one, other) for one, other in zip(found, wanted, strict=True))
    return Share(errors, sum(map(len, wanted)))


def word_errors(found: Sequence[str], wanted: Sequence[str]) -> Share:
    """Return the word error rate of texts, in lower case and without punctuation at the words' edges."""
    return edits([_words(text) for text in found], [_words(text) for text in wanted])


def exact_matches(found: Sequence[str], wanted: Sequence[str]) -> Share:
    """Return the share of texts without word errors."""
    same = sum(_words(one) == _words(other) for one, other in zip(found, wanted, strict=True))
    return Share(same, len(wanted))


def unit_errors(language: UnitLanguage, found: Ragged, wanted: Ragged) -> Share:
    """Return the unit error rate of words, (B, W), decoded to units, so that another segmentation is no error."""
    return edits(*([units.tolist() for units in language.decode_batch(_rows(words))] for words in (found, wanted)))


def sequence_accuracy(predictions: Predictions) -> Share:
    """Return the share of examples in which all targets, the end included, have the highest score."""
    right_N = predictions.logits_NV.argmax(-1) == predictions.targets_N
    examples = right_N.split(predictions.lengths_B.tolist())
    return Share(sum(bool(right.all()) for right in examples), len(examples))


def cosine(denoised: Ragged, text: Ragged) -> Share:
    """Return the mean cosine of denoised states and the embeddings of their tokens."""
    values_N = torch.nn.functional.cosine_similarity(denoised.flat().float(), text.flat().float(), dim=-1)
    return Share(float(values_N.sum()), len(values_N))


def _words(text: str) -> list[str]:
    words = (word.strip(".,;:!?\"'()[]-") for word in text.lower().split())
    return [word for word in words if word]


def _rows(words: Ragged) -> list[list[int]]:
    return [row.tolist() for row in words.rows()]
