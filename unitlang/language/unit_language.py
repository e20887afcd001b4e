"""The unit language: words of 1..K units, and a model that segments runs into them without loss.

Shapes: W = words, R = runs, V = words of the vocabulary, K = units of the quantizer.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import sentencepiece
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, ValidationError

from unitlang.config import FrozenConfig
from unitlang.language.plausibility import Sample, is_plausible, pairs_runs_per_word
from unitlang.language.sentencepiece_io import MAX_K, Algorithm, Segmenter, train, training_lines
from unitlang.language.words import UnitLanguageError, WordTable
from unitlang.units import Uint16Array, as_units

__all__ = ["UnitLanguage", "UnitLanguageConfig", "UnitLanguageError", "train_unit_language"]

MODEL_FILE = "unit_language.model"
CARD_FILE = "card.json"


class UnitLanguageConfig(FrozenConfig):
    """Training settings of a unit language."""

    algorithm: Algorithm = "bpe"
    """`bpe` merges the commonest pairs, in linear time; `unigram` is SentencePiece's EM, superlinear."""
    vocab_size: Annotated[int, Field(ge=3)] = 8_000
    """Most words, `<unk>` and the k single units included; fewer if too little of the sample occurs twice."""
    max_word_units: Annotated[int, Field(ge=2, le=512)] = 16
    """K: most units of a word."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the sample, if the corpus has more than `sample_hours`; training itself is not random."""
    sample_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 500.0
    """Hours of speech to learn from."""


class _Card(FrozenConfig):
    """Card of a unit language (card.json)."""

    fingerprint: str
    quantizer: str
    k: Annotated[int, Field(ge=1, le=MAX_K)]
    vocab_size: int
    requested_vocab_size: int
    config: UnitLanguageConfig
    sample_sequences: int
    sample_runs: int
    sample_runs_per_word: float
    sentencepiece: str


class UnitLanguage:
    """A vocabulary of words over the units of one quantizer, and their segmentation. Lossless and picklable.

    Word ids are SentencePiece's; 0 is `<unk>`, which no encoding contains. Made by `train_unit_language` or `load`.

    Attributes:
        k: units are 0..k-1; each is also a word.
        quantizer: fingerprint of the quantizer that these units come from.
        fingerprint: SHA-256 (hex) of the model, k and the quantizer's fingerprint.
        vocab_size: word ids are below this.
        word_lengths: units per word id, of shape (V,); 0 for `<unk>`.
    """

    def __init__(self, model: bytes, card: _Card) -> None:
        if card.fingerprint != _fingerprint(model, card.k, card.quantizer):
            raise UnitLanguageError(f"{MODEL_FILE} is not the model that {CARD_FILE} describes: restore both")
        self._model = model
        self._card = card
        self._segmenter = Segmenter(model, card.k)
        self._table = WordTable(self._segmenter.words())
        self.k = card.k
        self.quantizer = card.quantizer
        self.fingerprint = card.fingerprint
        self.vocab_size = len(self._table)
        self.word_lengths: NDArray[np.int32] = self._table.lengths_V

    @property
    def card(self) -> dict[str, Any]:
        """Facts about the training: config, sizes requested and reached, sample, version (JSON values)."""
        return self._card.model_dump(mode="json")

    def encode(self, units_R: ArrayLike, *, quantizer: str | None = None) -> NDArray[np.int32]:
        """Return the words of one sequence of runs' units, `words_W`; cut after every 4,096 units (`PIECE_UNITS`).

        Args:
            units_R: integers in 0..k-1; repeated neighbours and empty sequences are allowed.
            quantizer: fingerprint of the quantizer that made the units; checked if given.

        Raises:
            UnitLanguageError: units outside 0..k-1, or of another quantizer.
            UnitlangError: the units are not a row of integers.
        """
        return self.encode_batch([units_R], quantizer=quantizer)[0]

    def encode_batch(self, sequences: Sequence[ArrayLike], *, quantizer: str | None = None) -> list[NDArray[np.int32]]:
        """Encode many sequences at once, on one thread and faster than `encode`; the words are the same.

        Args:
            sequences: `units_R` of each utterance, as for `encode`.
            quantizer: fingerprint of the quantizer that made the units; checked if given.

        Returns:
            `words_W` of each sequence, views of one array.

        Raises:
            UnitLanguageError: units outside 0..k-1, or of another quantizer.
            UnitlangError: the units are not a row of integers.
        """
        if quantizer is not None and quantizer != self.quantizer:
            made_by = f"units of quantizer {quantizer}, but the unit language was learnt on {self.quantizer}'s"
            raise UnitLanguageError(f"{made_by}: quantize again or learn another unit language")
        return self._segmenter.encode_batch([as_units(units_R) for units_R in sequences])

    def decode(self, words_W: ArrayLike) -> Uint16Array:
        """Return the units of the runs that the words encode, `units_R`.

        Raises:
            UnitLanguageError: ids that are not words of the vocabulary, or `<unk>`.
        """
        return self._table.decode(words_W)

    def decode_batch(self, sequences: Sequence[ArrayLike]) -> list[Uint16Array]:
        """Decode many sequences at once.

        Raises:
            UnitLanguageError: ids that are not words of the vocabulary, or `<unk>`.
        """
        if not sequences:
            return []
        ids = [self._table.check(words_W) for words_W in sequences]
        ends = np.cumsum([self.word_lengths[words_W].sum(dtype=np.int64) for words_W in ids])
        return np.split(self._table.decode(np.concatenate(ids)), ends[:-1])

    def words(self, ids_W: ArrayLike) -> list[str]:
        """Return words as text, units joined by `_`: `837_81_194`.

        Raises:
            UnitLanguageError: ids that are not words of the vocabulary, or `<unk>`.
        """
        return self._table.words(ids_W)

    def tokens(self, ids_W: ArrayLike) -> list[str]:
        """Return words as tokens of a language model: `<|unit_837_81_194|>`.

        Raises:
            UnitLanguageError: ids that are not words of the vocabulary, or `<unk>`.
        """
        return self._table.tokens(ids_W)

    def parse(self, texts: Iterable[str]) -> NDArray[np.int32]:
        """Return the ids of words or tokens, `words_W`: the inverse of `words` and of `tokens`.

        Raises:
            UnitLanguageError: a text is neither a word nor a token of this vocabulary.
        """
        return self._table.parse(texts)

    def dump(self) -> dict[str, bytes]:
        """Return the language as files, name -> contents; equal languages give equal bytes."""
        card = json.dumps(self.card, indent=2, sort_keys=True) + "\n"
        return {MODEL_FILE: self._model, CARD_FILE: card.encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes], *, fingerprint: str | None = None) -> "UnitLanguage":
        """Load a language from files as returned by `dump`.

        Args:
            files: name -> contents.
            fingerprint: the expected one; checked if given.

        Raises:
            UnitLanguageError: missing, damaged or mismatched files, or another language.
        """
        missing = {MODEL_FILE, CARD_FILE} - files.keys()
        if missing:
            raise UnitLanguageError(f"no {' and no '.join(sorted(missing))} among the unit language's files")
        try:
            card = _Card.model_validate_json(files[CARD_FILE])
        except ValidationError as error:
            fault = " ".join(str(error).split())
            raise UnitLanguageError(f"{CARD_FILE} of the unit language cannot be read: {fault}") from None
        if fingerprint is not None and fingerprint != card.fingerprint:
            raise UnitLanguageError(f"expected unit language {fingerprint}, found {card.fingerprint}")
        return cls(files[MODEL_FILE], card)


def _fingerprint(model: bytes, k: int, quantizer: str) -> str:
    parts = [hashlib.sha256(model).hexdigest(), k, quantizer]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def train_unit_language(
    sequences: Iterable[ArrayLike], config: UnitLanguageConfig, *, k: int, quantizer: str
) -> UnitLanguage:
    """Train a unit language on sequences of runs' units.

    The same sequences in the same order give the same bytes, on any number of cores. `config.vocab_size` is an upper
    bound: a word of several units is learnt from at least two occurrences, so a small sample gives fewer words; the
    card states both numbers.

    Args:
        sequences: `units_R` of one utterance each; read once, one at a time.
        config: training settings. `seed` and `sample_hours` are for the caller that draws the sample.
        k: units are below this.
        quantizer: fingerprint of the quantizer that made the units.

    Raises:
        UnitLanguageError: sizes that do not fit, units outside 0..k-1, no units at all, or a language that has learnt
            implausibly little.
        UnitlangError: sequences that are not rows of integers.
    """
    _check_sizes(config, k)
    sample = Sample(sequences, k)
    model = train(training_lines(sample, k), config.algorithm, config.vocab_size, config.max_word_units)
    if not sample.num_runs:
        raise UnitLanguageError("no units to learn a unit language from: the sample is empty")
    segmenter = Segmenter(model, k)
    card = _Card(
        fingerprint=_fingerprint(model, k, quantizer),
        quantizer=quantizer,
        k=k,
        vocab_size=len(segmenter.words()),
        requested_vocab_size=config.vocab_size,
        config=config,
        sample_sequences=sample.num_sequences,
        sample_runs=sample.num_runs,
        sample_runs_per_word=_plausible_runs_per_word(segmenter, sample, config, k),
        sentencepiece=sentencepiece.__version__,
    )
    return UnitLanguage(model, card)


def _check_sizes(config: UnitLanguageConfig, k: int) -> None:
    if not 1 <= k <= MAX_K:
        raise UnitLanguageError(f"k = {k} is outside 1..{MAX_K}")
    if config.vocab_size < k + 1:
        needed = f"{k} single units and <unk> need vocab_size >= k + 1 = {k + 1}"
        raise UnitLanguageError(f"vocab_size = {config.vocab_size} is too small: {needed}; raise it or lower k")


def _plausible_runs_per_word(segmenter: Segmenter, sample: Sample, config: UnitLanguageConfig, k: int) -> float:
    num_words = sum(len(words_W) for words_W in segmenter.encode_batch(sample.evidence))
    runs_per_word = sum(len(units_R) for units_R in sample.evidence) / num_words
    by_pairs = pairs_runs_per_word(sample.evidence, k, config.vocab_size - k - 1)
    if not is_plausible(runs_per_word, by_pairs):
        found = f"{runs_per_word:.3f} runs per word where the commonest pairs alone give {by_pairs:.3f}"
        remedy = "check that the units are of speech, use algorithm = bpe or sentencepiece 0.2.2"
        raise UnitLanguageError(f"the {config.algorithm} unit language has learnt almost nothing: {found}; {remedy}")
    return runs_per_word
