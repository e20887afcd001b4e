import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise, repeat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from unitlang.errors import UnitlangError
from unitlang.language.sentencepiece_io import PIECE_UNITS, Algorithm, Segmenter, fit, train, training_lines
from unitlang.language.unit_language import UnitLanguage, UnitLanguageConfig, UnitLanguageError, train_unit_language

ALGORITHMS: tuple[Algorithm, ...] = ("bpe", "unigram")
K = 40
SIZE = 120


def speech_like(num: int, k: int = K, length: int = 80, seed: int = 0) -> list[np.ndarray]:
    """Sequences of 20 recurring phones of 2 to 5 units, over all units but the last."""
    rng = np.random.default_rng(seed)
    phones = [rng.integers(0, k - 1, rng.integers(2, 6)) for _ in range(20)]
    sequences = [np.concatenate([phones[i] for i in rng.integers(0, 20, length)]) for _ in range(num)]
    return [sequence[:length].astype(np.uint16) for sequence in sequences]


@cache
def language(algorithm: Algorithm = "bpe", k: int = K, vocab_size: int = SIZE) -> UnitLanguage:
    config = UnitLanguageConfig(algorithm=algorithm, vocab_size=vocab_size, max_word_units=6)
    return train_unit_language(speech_like(60, k), config, k=k, quantizer="q")


@pytest.fixture(params=ALGORITHMS)
def trained(request: pytest.FixtureRequest) -> UnitLanguage:
    return language(request.param)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(deadline=None)
@given(data=st.data())
def test_nothing_is_lost(algorithm: Algorithm, data: st.DataObject) -> None:
    spoken = language(algorithm)
    units = st.lists(st.integers(0, K - 1) | st.just(K - 1), max_size=120)
    batch = [np.array(one, np.uint16) for one in data.draw(st.lists(units, max_size=5))]
    words = spoken.encode_batch(batch)
    assert all(one.dtype == np.int32 and (one > 0).all() for one in words)
    for one, again in zip(batch, spoken.decode_batch(words), strict=True):
        assert again.dtype == np.uint16
        assert np.array_equal(one, again)
    assert all(np.array_equal(spoken.encode(one), ids) for one, ids in zip(batch, words, strict=True))


@pytest.mark.parametrize("k", [1, 2, 500, 1_000, 20_000])
def test_any_number_of_units(k: int) -> None:
    config = UnitLanguageConfig(vocab_size=k + 4)
    spoken = train_unit_language([np.array([0, k - 1, 0, k - 1])], config, k=k, quantizer="q")
    units = np.random.default_rng(0).permutation(np.repeat(np.arange(k), 2)).astype(np.uint16)
    assert np.array_equal(spoken.decode(spoken.encode(units)), units)


def test_every_unit_is_a_word_even_if_never_heard(trained: UnitLanguage) -> None:
    words = set(trained.words(range(1, trained.vocab_size)))
    assert {str(unit) for unit in range(K)} <= words
    assert trained.words(trained.encode([K - 1, K - 1])) == [str(K - 1)] * 2


def test_a_vocabulary_of_single_units(trained: UnitLanguage) -> None:
    algorithm = trained.card["config"]["algorithm"]
    spoken = language(algorithm, vocab_size=K + 1)
    assert spoken.word_lengths.tolist() == [0] + [1] * K


def test_words_have_at_most_max_word_units(trained: UnitLanguage) -> None:
    assert trained.vocab_size == len(trained.word_lengths) == SIZE
    assert trained.word_lengths[0] == 0
    assert 2 < trained.word_lengths.max() <= 6


def test_words_and_tokens_are_text_and_back(trained: UnitLanguage) -> None:
    ids = np.arange(1, trained.vocab_size)
    words, tokens = trained.words(ids), trained.tokens(ids)
    assert tokens == [f"<|unit_{word}|>" for word in words]
    assert np.array_equal(trained.parse(words), ids)
    assert np.array_equal(trained.parse(tokens), ids)
    assert [len(word.split("_")) for word in words] == trained.word_lengths[1:].tolist()
    units = [int(unit) for word in words for unit in word.split("_")]
    assert trained.decode(ids).tolist() == units
    with pytest.raises(UnitLanguageError, match="'<unk>' is not a word"):
        trained.parse(["<unk>"])


def test_long_sequences_are_learnt_from() -> None:
    one = np.concatenate(speech_like(1_000))  # 80,000 units in 240,000 bytes: above SentencePiece's limits
    spoken = train_unit_language([one], UnitLanguageConfig(vocab_size=SIZE), k=K, quantizer="q")
    assert len(one) / len(spoken.encode(one)) > 2


@pytest.mark.parametrize("length", [PIECE_UNITS - 1, PIECE_UNITS, PIECE_UNITS + 1, 900_000])
def test_long_sequences_are_encoded_piece_by_piece(trained: UnitLanguage, length: int) -> None:
    units = np.resize(np.concatenate(speech_like(100, seed=1)), length)
    words = trained.encode(units)
    assert np.array_equal(trained.decode(words), units)
    pieces = np.split(units, range(PIECE_UNITS, length, PIECE_UNITS))
    assert np.array_equal(np.concatenate(trained.encode_batch(pieces)), words)


def test_vocab_size_is_an_upper_bound(trained: UnitLanguage) -> None:
    few = speech_like(3)
    config = UnitLanguageConfig(algorithm=trained.card["config"]["algorithm"], vocab_size=8_000)
    spoken = train_unit_language(few, config, k=K, quantizer="q")
    assert K + 1 < spoken.vocab_size < 8_000
    assert spoken.card["vocab_size"] == spoken.vocab_size
    assert spoken.card["requested_vocab_size"] == 8_000
    assert all(np.array_equal(spoken.decode(spoken.encode(one)), one) for one in few)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_words_of_several_units_occur_twice(algorithm: Algorithm) -> None:
    few = speech_like(4)
    config = UnitLanguageConfig(algorithm=algorithm, vocab_size=8_000)
    spoken = train_unit_language(few, config, k=K, quantizer="q")
    sequences = ["".join(f"_{unit}" for unit in one) + "_" for one in few]
    learnt = [word for word in spoken.words(range(1, spoken.vocab_size)) if "_" in word]
    assert learnt
    assert all(sum(len(re.findall(f"_(?={word}_)", one)) for one in sequences) >= 2 for word in learnt)


def merge(sequence: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in sequence:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


@pytest.mark.parametrize("max_word_units", [3, 16])
@pytest.mark.parametrize("num", [1, 2, 5, 20])
def test_bpe_ends_before_the_first_pair_that_occurs_once(num: int, max_word_units: int) -> None:
    """Merge by merge, counted by other means than the ones under test."""
    few = [*speech_like(num), np.tile([1, 2], 9)]
    model = train(training_lines([one.astype(np.uint16) for one in few], K), "bpe", 8_000, max_word_units)
    words = ["".join(map(chr, word)) for word in Segmenter(model, K).words() if len(word) > 1]
    sequences = [[chr(unit) for unit in one] for one in few]
    known = set(words)
    for word in words:
        counts = Counter(pair for one in sequences for pair in pairwise(one) if "".join(pair) == word)
        pair, count = counts.most_common(1)[0]
        assert count >= 2
        sequences = [merge(one, pair) for one in sequences]
    left = Counter(pair for one in sequences for pair in pairwise(one))
    allowed = {pair: count for pair, count in left.items() if len("".join(pair)) <= max_word_units}
    assert all(count == 1 or "".join(pair) in known for pair, count in allowed.items())


@pytest.mark.parametrize("vocab_size", [K + 1, SIZE, 8_000])
@pytest.mark.parametrize("num", [1, 4, 60])
def test_bpe_is_what_learning_so_many_words_gives(num: int, vocab_size: int) -> None:
    sample = speech_like(num, seed=num)
    model = train(training_lines(sample, K), "bpe", vocab_size, 16)
    size = len(Segmenter(model, K).words())
    assert size <= vocab_size
    assert fit(training_lines(sample, K), "bpe", size, 16) == model


@pytest.mark.slow
@pytest.mark.slow
def test_units_rarer_than_a_float32_can_tell_stay_words() -> None:
    """In 400 hours, one unit is heard once and one never."""
    often = np.resize([0, 1, 2, 1], PIECE_UNITS)
    config = UnitLanguageConfig(vocab_size=9)
    few, many = (train_unit_language([[3], *repeat(often, times)], config, k=5, quantizer="q") for times in (9, 9_000))
    assert many.vocab_size == 9
    assert many.words(range(1, 9)) == few.words(range(1, 9))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_sample_gives_the_same_bytes_on_any_cores(algorithm: Algorithm) -> None:
    expected = language(algorithm).dump()
    script = (
        "import os, runpy, sys\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "test = runpy.run_path(sys.argv[1])\n"
        "files = test['language'](sys.argv[2]).dump()\n"
        "import hashlib; print(*(hashlib.sha256(files[name]).hexdigest() for name in sorted(files)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", script, __file__, algorithm]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert printed.split() == [hashlib.sha256(expected[name]).hexdigest() for name in sorted(expected)]


def test_files_and_pickles_give_the_language_back(trained: UnitLanguage) -> None:
    units = speech_like(1, seed=2)[0]
    files = trained.dump()
    pickled = pickle.loads(pickle.dumps(trained))  # noqa: S301
    for again in (UnitLanguage.load(files, fingerprint=trained.fingerprint), pickled):
        assert again.dump() == files
        assert again.card == trained.card
        assert np.array_equal(again.encode(units, quantizer="q"), trained.encode(units))


def test_fingerprint_depends_on_all_that_words_depend_on(trained: UnitLanguage) -> None:
    config = UnitLanguageConfig.model_validate(trained.card["config"])
    other = train_unit_language(speech_like(60), config, k=K, quantizer="other")
    assert other.dump()["unit_language.model"] == trained.dump()["unit_language.model"]
    assert other.fingerprint != trained.fingerprint
    assert language("bpe").fingerprint != language("unigram").fingerprint


def broken_files() -> Iterator[tuple[dict[str, bytes], str]]:
    files = language().dump()
    card = json.loads(files["card.json"])
    yield {"card.json": files["card.json"]}, "no unit_language.model"
    yield {}, "no card.json and no unit_language.model"
    yield {**files, "unit_language.model": files["unit_language.model"][:-5]}, "not the model"
    yield {**files, "card.json": b"{"}, "card.json"
    yield {**files, "card.json": json.dumps({**card, "k": K + 1}).encode()}, "not the model"
    yield files, "expected unit language abc"


@pytest.mark.parametrize("case", range(6))
def test_broken_files_are_refused(case: int) -> None:
    files, message = list(broken_files())[case]
    with pytest.raises(UnitLanguageError, match=message):
        UnitLanguage.load(files, fingerprint="abc" if case == 5 else None)


def test_models_of_other_units_are_refused(trained: UnitLanguage) -> None:
    model = trained.dump()["unit_language.model"]
    for k in (K - 1, K + 1):
        with pytest.raises(UnitLanguageError, match="the model's words are not made of"):
            Segmenter(model, k).words()
    with pytest.raises(UnitLanguageError, match="cannot be read"):
        Segmenter(model[:-5], K)


def test_units_that_are_not_its_own_are_refused(trained: UnitLanguage) -> None:
    with pytest.raises(UnitLanguageError, match="quantizer p"):
        trained.encode([1], quantizer="p")
    with pytest.raises(UnitLanguageError, match=r"unit 40 is outside 0\.\.39"):
        trained.encode_batch([[1], [K]])
    for units in ([-1], [0.5], [[1]]):
        with pytest.raises(UnitlangError, match="units must"):
            trained.encode(units)


@pytest.mark.parametrize("ids", [[0], [SIZE], [-1], [1.5], [[1]]])
def test_ids_that_are_no_words_are_refused(trained: UnitLanguage, ids: list[int]) -> None:
    with pytest.raises(UnitLanguageError, match="word ids"):
        trained.decode(ids)
    with pytest.raises(UnitLanguageError, match="word ids"):
        trained.decode_batch([[1], ids])


def test_a_vocabulary_below_the_units_names_field_and_remedy() -> None:
    with pytest.raises(UnitLanguageError, match=r"vocab_size = 40 is too small.*>= k \+ 1 = 41.*lower k"):
        train_unit_language(speech_like(1), UnitLanguageConfig(vocab_size=K), k=K, quantizer="q")


def test_a_sample_that_cannot_be_learnt_from_is_refused() -> None:
    config = UnitLanguageConfig(vocab_size=100)
    with pytest.raises(UnitLanguageError, match="sample is empty"):
        train_unit_language([np.empty(0, np.uint16)], config, k=K, quantizer="q")
    with pytest.raises(UnitLanguageError, match=r"unit 40 is outside 0\.\.39"):
        train_unit_language([*speech_like(1), [K]], config, k=K, quantizer="q")
    with pytest.raises(KeyError, match="the caller's own"):
        train_unit_language(failing(), config, k=K, quantizer="q")


def failing() -> Iterator[np.ndarray]:
    yield from speech_like(1)
    raise KeyError("the caller's own")


def test_a_language_that_has_learnt_nothing_is_refused() -> None:
    """Unigram on units without any structure, as with releases of SentencePiece that find no words."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 50, 200) for _ in range(400)]
    config = UnitLanguageConfig(algorithm="unigram", vocab_size=600)
    with pytest.raises(UnitLanguageError, match=r"almost nothing: .* runs per word"):
        train_unit_language(noise, config, k=50, quantizer="q")


def real_units(shared_data: Path) -> list[np.ndarray]:
    lines = (shared_data / "units" / "LibriSpeech_hubert500.jsonl").read_text().splitlines()
    frames = [np.array(json.loads(line)["units"].split(), np.uint16) for line in lines]
    return [units[np.diff(units, prepend=-1) != 0] for units in frames]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_real_units_are_compressed(algorithm: Algorithm, shared_data: Path) -> None:
    sequences = real_units(shared_data)
    ratios: list[float] = []
    for vocab_size in (600, 1_000, 2_000):
        config = UnitLanguageConfig(algorithm=algorithm, vocab_size=vocab_size)
        spoken = train_unit_language(sequences, config, k=500, quantizer="q")
        ratios.append(spoken.card["sample_runs_per_word"])
    assert ratios[0] > 1.15
    assert ratios[-1] > 2
    assert all(small < large for small, large in pairwise(ratios))


def test_real_units_are_not_learnt_by_heart(shared_data: Path) -> None:
    sequences = real_units(shared_data)
    learnt = [units for index, units in enumerate(sequences) if index % 5]
    config = UnitLanguageConfig(vocab_size=8_000)
    spoken = train_unit_language(learnt, config, k=500, quantizer="q")
    held_out = sequences[::5]
    runs_per_word = sum(map(len, held_out)) / sum(map(len, spoken.encode_batch(held_out)))
    assert runs_per_word > 1.8
    assert spoken.card["sample_runs_per_word"] < 1.4 * runs_per_word
    size = spoken.vocab_size
    assert fit(training_lines(learnt, 500), "bpe", size, 16) == spoken.dump()["unit_language.model"]


@pytest.mark.parametrize("values", [{"seed": -1}, {"seed": 2**31}, {"sample_hours": float("inf")}])
def test_a_config_takes_no_numbers_that_fail_later(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        UnitLanguageConfig.model_validate(values)
