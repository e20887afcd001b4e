"""SentencePiece on units: one codepoint per unit, settings that leave the units unchanged, bounded pieces.

Shapes: R = runs, K = units of the quantizer.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise, takewhile
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import sentencepiece
from numpy.typing import NDArray
from sentencepiece import sentencepiece_model_pb2

from unitlang.language.words import UnitLanguageError, units_below
from unitlang.units import Uint16Array

if TYPE_CHECKING:
    from unitlang.language.bpe import BpeEncoder

Algorithm = Literal["bpe", "unigram"]

FIRST_CODEPOINT = 0x4E00
"""Codepoint of unit 0, the first of 20,992 plain letters (CJK ideographs) of 3 bytes each in UTF-8."""

MAX_K = 20_000
"""Most units, within that range of codepoints."""

PIECE_UNITS = 4_096
"""Sequences are cut after every 4,096 units, for training and encoding.

Training keeps positions in 16 bits. BPE encoding becomes 2 to 3 times slower between 16,000 and a million units. The
cuts add less than 0.2 % to the words (measured on one sequence of 2,000,000 units).
"""

COMPILE_AFTER = 1_000_000
"""Units (11 hours of speech) that one `Segmenter` encodes by SentencePiece's BPE before it loads the compiled one.

Loading costs a process one to two seconds of CPU time (7 s more for a machine's first one, to compile), as much as
SentencePiece takes for 4 to 8 million units: see benchmarks/unit_language.py. Small jobs never pay that.
"""

_TRAINING_THREADS = 16
"""Fixed, whatever the machine: unigram sums its expectations per thread, so the number affects the result."""

_UTF8_BYTES = 3

_ONCE = "\u3400\u3401"
"""A pair of letters that are not units, added to BPE's training lines exactly once.

BPE merges the commonest pair first; of equally common pairs the shortest, then the one of the lowest codepoints. So
this pair is the first of those that occur once, and marks the merge where memorising begins.
"""


def utf8_table(k: int) -> NDArray[np.uint8]:
    """UTF-8 bytes of units 0..k-1, of shape (K, 3)."""
    text = "".join(chr(FIRST_CODEPOINT + unit) for unit in range(k))
    return np.frombuffer(text.encode(), np.uint8).reshape(k, _UTF8_BYTES)


def training_lines(sequences: Iterable[Uint16Array], k: int) -> Iterator[bytes]:
    """Yield the training lines: every unit once on a line of its own, then the sequences in pieces of `PIECE_UNITS`.

    A line of its own makes a unit a word even if no sequence contains it. `required_chars` does not: it only keeps
    characters that occur in some line.
    """
    table_K3 = utf8_table(k)
    yield from (table_K3[unit].tobytes() for unit in range(k))
    for units_R in sequences:
        yield from _pieces(table_K3[units_R].tobytes())


def _pieces(text: bytes) -> list[bytes]:
    step = PIECE_UNITS * _UTF8_BYTES
    return [text[start : start + step] for start in range(0, len(text), step)]


def train(lines: Iterator[bytes], algorithm: Algorithm, vocab_size: int, max_word_units: int) -> bytes:
    """Train a model of at most `vocab_size` words (with `<unk>`) and return it serialised.

    Every word except the single units is learnt from at least two occurrences. BPE ends before the first merge whose
    pair occurs once (in x x x, x x occurs twice); unigram considers substrings that occur twice. The bytes depend only
    on the lines, their order and the arguments: not on paths, time or the number of cores.

    Args:
        lines: training lines, from `training_lines`.
        algorithm: `bpe` or `unigram`.
        vocab_size: most words, `<unk>` included.
        max_word_units: most units of a word.

    Raises:
        RuntimeError: SentencePiece failed.
        Exception: any exception that iterating over `lines` raises.
    """
    if algorithm == "unigram":
        return fit(lines, algorithm, vocab_size, max_word_units)
    marked = chain((text.encode() for text in (_ONCE, *_ONCE)), lines)
    return _before_once(fit(marked, algorithm, vocab_size + len(_ONCE), max_word_units))


def _before_once(model: bytes) -> bytes:
    """Cut a BPE model to the merges before `_ONCE`, as if only these had been learnt, without the pair."""
    proto: Any = sentencepiece_model_pb2.ModelProto.FromString(model)  # pyright: ignore[reportAttributeAccessIssue]
    pieces = proto.pieces[1:]  # after <unk>: the merges in their order, then the single letters
    merges = takewhile(lambda piece: len(piece.piece) > 1 and piece.piece != _ONCE, pieces)
    units = (piece for piece in pieces if len(piece.piece) == 1 and piece.piece not in _ONCE)
    words = [*merges, *units]
    for rank, piece in enumerate(words):
        piece.score = -float(rank)  # SentencePiece's numbering, from -0.0 on
    shorter: Any = type(proto)()
    shorter.CopyFrom(proto)
    del shorter.pieces[1:]
    shorter.pieces.extend(words)
    shorter.trainer_spec.vocab_size = len(shorter.pieces)
    return shorter.SerializeToString()


def fit(lines: Iterator[bytes], algorithm: Algorithm, vocab_size: int, max_word_units: int) -> bytes:
    """Train like `train`, but let SentencePiece's BPE also merge pairs that occur once, up to whole lines.

    Args:
        lines: training lines, from `training_lines`.
        algorithm: `bpe` or `unigram`.
        vocab_size: most words, `<unk>` included.
        max_word_units: most units of a word.

    Raises:
        RuntimeError: SentencePiece failed.
        Exception: any exception that iterating over `lines` raises.
    """
    model = io.BytesIO()
    guarded = _Guarded(_without_rare_letters(lines))
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=guarded,
            model_writer=model,
            model_type=algorithm,
            vocab_size=vocab_size,
            # If the lines support only M < vocab_size words, the model has M. The hard limit would fail instead,
            # "Vocabulary size too high (N). Please set it to a value <= M", and otherwise gives the same words.
            hard_vocab_limit=False,
            max_sentencepiece_length=max_word_units,
            max_sentence_length=PIECE_UNITS * _UTF8_BYTES,  # bytes; longer lines would be dropped silently
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_by_unicode_script=False,
            split_by_number=False,
            split_by_whitespace=False,
            character_coverage=1.0,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=_TRAINING_THREADS,
            minloglevel=2,
        )
    except RuntimeError:
        if guarded.error is not None:
            raise guarded.error from None
        raise
    return model.getvalue()


def _without_rare_letters(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines, then the one-letter lines again, as often as SentencePiece needs to keep rare letters.

    SentencePiece drops the rarest letters with a total share of at most 2^-25, because the share of the others, a
    float32, is then 1. Repeating all letters equally keeps their order, and nothing is learnt from a line of one
    letter.
    """
    num_bytes = 0
    letters: dict[bytes, None] = {}
    for line in lines:
        num_bytes += len(line)
        if len(line) == _UTF8_BYTES:
            letters[line] = None
        yield line
    for _ in range(num_bytes // _UTF8_BYTES >> 24):
        yield from letters


class _Guarded(Iterator[bytes]):
    """Keeps the iterator's exception, which SentencePiece turns into an untyped RuntimeError."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self.error: BaseException | None = None

    def __next__(self) -> bytes:
        try:
            return next(self._lines)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise


class Segmenter:
    """A trained model that maps units to word ids. Picklable.

    SentencePiece encodes the first `COMPILE_AFTER` units of BPE, then `unitlang.language.bpe` takes over; the ids are
    the same.

    Raises:
        UnitLanguageError: the bytes are not a SentencePiece model.
    """

    def __init__(self, model: bytes, k: int) -> None:
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise UnitLanguageError(f"the unit language's model cannot be read: {error}") from None
        self._table_K3 = utf8_table(k)
        self._until_compiled = COMPILE_AFTER
        self._compiled: BpeEncoder | None = None

    def words(self) -> list[list[int]]:
        """Return the units of each word in the order of its id; none for `<unk>`.

        Raises:
            UnitLanguageError: a single unit is not a word of the model, or a word does not consist of units.
        """
        pieces = self._processor.IdToPiece(list(range(1, len(self._processor))))
        words = [[ord(letter) - FIRST_CODEPOINT for letter in piece] for piece in pieces]
        k = len(self._table_K3)
        singles = {word[0] for word in words if len(word) == 1}
        if not singles == {unit for word in words for unit in word} == set(range(k)):
            raise UnitLanguageError(f"the model's words are not made of, or lack some of, the units 0..{k - 1}")
        return [[], *words]

    def encode_batch(self, sequences: Sequence[Uint16Array]) -> list[NDArray[np.int32]]:
        """Return the word ids of each sequence, views of one array; uses one thread.

        Raises:
            UnitLanguageError: units of k or more.
        """
        units_R = units_below(len(self._table_K3), np.concatenate([np.empty(0, np.uint16), *sequences]))
        ends_N = np.cumsum([len(sequence_R) for sequence_R in sequences], dtype=np.int64)
        compiled = self._compiled_after(len(units_R))
        words_W, word_ends_N = compiled.encode(units_R, ends_N) if compiled else self._encode(units_R, ends_N)
        return [words_W[start:end] for start, end in pairwise([0, *word_ends_N.tolist()])]

    def _compiled_after(self, num_units: int) -> "BpeEncoder | None":
        """Return the compiled encoder, from the batch with which the total exceeds `COMPILE_AFTER` units."""
        if self._until_compiled >= 0:
            self._until_compiled -= num_units
            if self._until_compiled < 0:
                self._compiled = self._compile()
        return self._compiled

    def _compile(self) -> "BpeEncoder | None":
        """Return None if the model is not BPE or cannot be searched."""
        model = self._processor.serialized_model_proto()
        proto: Any = sentencepiece_model_pb2.ModelProto.FromString(model)  # pyright: ignore[reportAttributeAccessIssue]
        if proto.trainer_spec.model_type != proto.trainer_spec.BPE:
            return None
        from unitlang.language.bpe import BpeEncoder, UnsearchableError  # loads numba, which takes seconds

        try:
            return BpeEncoder(self.words(), [piece.score for piece in proto.pieces], PIECE_UNITS)
        except UnsearchableError:
            return None

    def _encode(self, units_R: Uint16Array, ends_N: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Encode like `BpeEncoder.encode`, by SentencePiece."""
        text = self._table_K3[units_R].tobytes()
        bounds = pairwise([0, *(ends_N * _UTF8_BYTES).tolist()])
        pieces = [_pieces(text[start:end]) for start, end in bounds]
        words = self._processor.Encode([*chain.from_iterable(pieces)], return_type="numpy", num_threads=1)
        piece_ends_N = np.cumsum([len(of_sequence) for of_sequence in pieces], dtype=np.int64)
        word_ends = np.cumsum([0, *map(len, words)])
        return np.concatenate([np.empty(0, np.int32), *words]), word_ends[piece_ends_N]
