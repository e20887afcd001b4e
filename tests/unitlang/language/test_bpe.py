import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numba.core.config
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from unitlang.language.bpe import BpeEncoder, UnsearchableError
from unitlang.language.bpe_search import compiled
from unitlang.language.sentencepiece_io import FIRST_CODEPOINT, PIECE_UNITS, Segmenter, train, training_lines

MAX_WORD_UNITS = (2, 3, 16, 512)
Word = tuple[int, ...]


def parse(model: bytes) -> Any:
    return sentencepiece_model_pb2.ModelProto.FromString(model)  # pyright: ignore[reportAttributeAccessIssue]


@cache
def blank() -> bytes:
    """A model with the settings of `train`, and of no words."""
    proto = parse(train(training_lines([], 1), "bpe", 3, 2))
    del proto.pieces[1:]
    return proto.SerializeToString()


def model_of(merges: Sequence[Word], k: int, scores: Sequence[float] | None = None) -> bytes:
    """A model of any words, those of several units first; by default the first is joined first."""
    proto = parse(blank())
    singles = [(unit,) for unit in range(k)]
    falling = [-float(rank) for rank in range(len(merges) + k)]
    for word, score in zip([*merges, *singles], [*scores, *[-1e6] * k] if scores else falling, strict=True):
        proto.pieces.add(piece="".join(chr(FIRST_CODEPOINT + unit) for unit in word), score=score)
    return proto.SerializeToString()


def encoder_of(model: bytes, k: int) -> BpeEncoder:
    return BpeEncoder(Segmenter(model, k).words(), [piece.score for piece in parse(model).pieces], PIECE_UNITS)


def check(model: bytes, k: int, sequences: Sequence[np.ndarray]) -> int:
    """Both ways of encoding give the same ids; returns how many."""
    sequences = [sequence.astype(np.uint16) for sequence in sequences]
    expected = Segmenter(model, k).encode_batch(sequences)
    words_W, ends_N = encoder_of(model, k).encode(np.concatenate(sequences), np.cumsum([*map(len, sequences)]))
    assert words_W.dtype == np.int32
    assert ends_N.tolist() == np.cumsum([*map(len, expected)]).tolist()
    assert np.array_equal(words_W, np.concatenate(expected))
    return len(words_W)


def babble(num_units: int, k: int, seed: int = 0) -> np.ndarray:
    """Words of a lexicon, the first the commonest, and noise."""
    rng = np.random.default_rng(seed)
    lexicon = [rng.integers(0, k, rng.integers(3, 20)) for _ in range(2_000)]
    chosen = np.minimum(rng.zipf(1.2, num_units // 3), len(lexicon)) - 1
    units = np.concatenate([lexicon[word] for word in chosen])[:num_units]
    is_noise = rng.random(num_units) < 0.05
    return np.where(is_noise, rng.integers(0, k, num_units), units)


@st.composite
def cyclic(draw: st.DrawFn, k: int) -> np.ndarray:
    """A few units over and over again, with one that does not belong there."""
    units = np.resize(draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=6)), draw(st.integers(1, 300)))
    units[draw(st.integers(0, len(units) - 1))] = draw(st.integers(0, k - 1))
    return units


def texts(k: int) -> st.SearchStrategy[list[np.ndarray]]:
    random = st.lists(st.integers(0, k - 1), max_size=60).map(lambda units: np.array(units, np.int64))
    return st.lists(random | cyclic(k), min_size=1, max_size=6)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.integers(1, 5), st.sampled_from(MAX_WORD_UNITS), st.data())
def test_languages_that_bpe_has_learnt(k: int, max_word_units: int, data: st.DataObject) -> None:
    learnt = [units.astype(np.uint16) for units in data.draw(texts(k))]
    model = train(training_lines(learnt, k), "bpe", data.draw(st.integers(k + 2, 200)), max_word_units)
    check(model, k, [*learnt, *data.draw(texts(k))])


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_languages_that_nobody_has_learnt(data: st.DataObject) -> None:
    """Words are joined of several pairs, with equal scores, or cannot be made at all."""
    k = 3
    words: list[Word] = [(unit,) for unit in range(k)]
    for _ in range(data.draw(st.integers(1, 25))):
        one, other = data.draw(st.tuples(st.sampled_from(words), st.sampled_from(words)))
        if one + other not in words:
            words.append(one + other)
    merges = words[k:]
    per_score = data.draw(st.integers(1, 3))
    model = model_of(merges, k, [-float(rank // per_score) for rank in range(len(merges))])
    try:
        check(model, k, data.draw(texts(k)))
    except UnsearchableError:
        assert any(len(word) > 2 for word in merges)  # a word of two units is always joined after them


@pytest.mark.parametrize("max_word_units", MAX_WORD_UNITS)
@pytest.mark.parametrize("period", [[0], [0, 1], [0, 1, 2], [0, 0, 1], [0, 1, 0, 2]])
def test_repetitions_longer_than_any_word(period: list[int], max_word_units: int) -> None:
    text = np.resize(period, 3 * PIECE_UNITS + 1)
    model = train(training_lines([text[:1_000].astype(np.uint16)], 3), "bpe", 60, max_word_units)
    sequences = [text[:length] for length in (1, 2, 999, PIECE_UNITS - 1, PIECE_UNITS, PIECE_UNITS + 1, len(text))]
    num_words = check(model, 3, [np.empty(0), *sequences, np.empty(0)])
    assert num_words >= sum(map(len, sequences)) / max_word_units


@pytest.mark.slow
@pytest.mark.parametrize(("k", "vocab_size"), [(500, 600), (500, 8_000), (1_000, 16_000), (20_000, 30_000)])
def test_large_vocabularies(k: int, vocab_size: int) -> None:
    text = babble(300_000, k)
    model = train(training_lines([text[:200_000].astype(np.uint16)], k), "bpe", vocab_size, 16)
    num_words = check(model, k, np.split(text[100_000:], range(750, 200_000, 750)))
    assert num_words < 200_000 * (0.95 if vocab_size < 1_000 else 0.7)


@pytest.mark.slow
def test_more_words_than_ranks_of_16_bits() -> None:
    """And so many pairs of units that all share their slots."""
    k = 270
    rng = np.random.default_rng(0)
    pairs = [(int(one), int(other)) for one, other in rng.permutation(list(product(range(k), repeat=2)))]
    triples = list(dict.fromkeys((*pairs[i], int(unit)) for i, unit in enumerate(rng.integers(0, k, 5_000))))
    text = np.array([unit for i in rng.integers(0, len(triples), 2_000) for unit in triples[i]])
    assert check(model_of([*pairs, *triples], k), k, [text, rng.integers(0, k, 9_000)])


@pytest.mark.parametrize(
    ("name", "field", "k"),
    [("LibriSpeech_hubert500", "units", 500), ("StreamSpeech_mhubert_km1000", "units_ref", 1_000)],
)
@pytest.mark.parametrize("max_word_units", MAX_WORD_UNITS)
def test_real_units(name: str, field: str, k: int, max_word_units: int, shared_data: Path) -> None:
    lines = (shared_data / "units" / f"{name}.jsonl").read_text().splitlines()
    frames = [np.array(json.loads(line)[field].split(), np.uint16) for line in lines]
    runs = [units[np.diff(units.astype(int), prepend=-1) != 0] for units in frames]
    for learnt, vocab_size in ((runs[::2], k + 200), (runs[::2], 8_000), (frames, 8_000)):
        check(train(training_lines(learnt, k), "bpe", vocab_size, max_word_units), k, [*runs, *frames])


def test_words_that_bpe_does_not_make_are_not_used() -> None:
    """In 0 1 2 3, 0 1 is joined before 1 2, so 1 2 3 never stands beside 0."""
    merges: list[Word] = [(0, 1), (1, 2), (1, 2, 3), (0, 1, 2, 3)]
    assert check(model_of(merges, 4), 4, [np.array([0, 1, 2, 3]), np.array([1, 2, 3])]) == 4


def test_of_equal_scores_the_leftmost_is_joined() -> None:
    model = model_of([(0, 1), (1, 2)], 3, [0.0, 0.0])
    assert Segmenter(model, 3).encode_batch([np.array([0, 1, 2], np.uint16)])[0].tolist() == [1, 5]
    assert check(model, 3, [np.array([0, 1, 2]), np.array([2, 0, 1, 2, 1, 2])])


def test_words_joined_before_their_parts_are_refused_and_left_to_sentencepiece(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of([(0, 1, 2), (1, 2)], 3)
    with pytest.raises(UnsearchableError, match="no better score"):
        encoder_of(model, 3)
    monkeypatch.setattr("unitlang.language.sentencepiece_io.COMPILE_AFTER", 0)
    assert [words.tolist() for words in Segmenter(model, 3).encode_batch([np.array([0, 1, 2], np.uint16)])] == [[1]]


@pytest.mark.parametrize(("limit", "message"), [("MAX_WORDS", "words are more than"), ("MAX_NODES", "beginnings")])
def test_more_than_the_tables_hold_is_refused(limit: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of([(0, 1), (0, 1, 1)], 2)
    assert encoder_of(model, 2)
    monkeypatch.setattr(f"unitlang.language.bpe.{limit}", 4)
    with pytest.raises(UnsearchableError, match=message):
        encoder_of(model, 2)


def test_an_encoder_can_be_pickled() -> None:
    encoder = encoder_of(model_of([(0, 1), (0, 1, 1)], 2), 2)
    again = pickle.loads(pickle.dumps(encoder))  # noqa: S301
    units, ends = np.array([0, 1, 1, 0], np.uint16), np.array([3, 4])
    assert [part.tolist() for part in again.encode(units, ends)] == [[2, 3], [1, 2]]


def test_functions_are_compiled_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.core.config, "CACHE_LOCATOR_CLASSES", "UserProvidedCacheLocator")
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(tmp_path / "file" / "folder"))
    assert compiled(lambda number: number + 1)(1) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "loaded"), [("unigram", "False"), ("bpe", "True")])
def test_numba_is_loaded_for_the_second_million_units(algorithm: str, loaded: str) -> None:
    script = """if True:
        import sys
        import numpy as np
        from unitlang.language.unit_language import UnitLanguageConfig, train_unit_language

        rng = np.random.default_rng(0)
        phones = rng.integers(0, 40, (20, 4))
        learnt = [phones[rng.integers(0, 20, 20)].ravel() for _ in range(60)]
        config = UnitLanguageConfig(algorithm=sys.argv[1], vocab_size=120)
        language = train_unit_language(learnt, config, k=40, quantizer="q")
        units = np.resize(np.concatenate(learnt), 500_000)
        first, second = language.encode_batch([units, units])
        print("numba" in sys.modules)
        third = language.encode(units)
        print("numba" in sys.modules, np.array_equal(first, second) and np.array_equal(second, third))
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", script, algorithm]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["False", loaded, "True"]
