import pickle
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from echox.data.buckets import bucket_sizes
from echox.data.config import DataConfig
from echox.data.corpus import Corpus, hold_out
from echox.data.pipeline import Source
from echox.data.streams import Epochs
from echox.data.text_to_words import T2CBatch, T2CExample, t2c_reading
from echox.data.worker import Worker
from echox.stages import text_columns
from echox.text.sentencepiece import SentencePieceTokenizer
from storage.tables import read_table
from tests.echox.corpora import write_corpus

CONFIG = DataConfig(max_tokens=256, max_length=128, shuffle_rows=8, prefetch=2, valid_fraction=0.2)
SEED = 5
Text = tuple[int, ...]


@pytest.fixture(scope="module")
def source(tones: str) -> Source[T2CExample]:
    corpus = Corpus.open(tones)
    tokenizer = SentencePieceTokenizer.learn(corpus.texts(text_columns()), 300)
    return Source(corpus, t2c_reading("t2c", tokenizer), hold_out(corpus, "t2c", CONFIG.valid_fraction), CONFIG)


def texts(batch: T2CBatch) -> list[Text]:
    return [tuple(row.tolist()) for row in batch.text.rows()]


def training(source: Source[Any]) -> Any:
    return source.training(SEED)


def rows(source: Source[Any], *, valid: bool) -> Counter[Text]:
    keep = source.holdout.is_valid if valid else source.holdout.is_train
    found: Counter[Text] = Counter()
    for path in source.corpus.paths("t2c"):
        for row in read_table(source.corpus.store, path).to_pylist():
            if keep(row["example_id"], row["split"]):
                found[tuple(source.reading.example(row).text)] += 1
    return found


def test_every_epoch_has_every_training_row_once(source: Source[Any]) -> None:
    expected = rows(source, valid=False)
    epochs = 30
    seen: Counter[Text] = Counter()
    for batch in training(source):
        seen.update(texts(batch))
        if seen.total() >= epochs * expected.total():
            break
    assert set(seen) == set(expected)
    for text, count in expected.items():
        assert abs(seen[text] - epochs * count) <= 4 * count, "some are still in buckets, none is lost"


def test_the_order_changes_from_epoch_to_epoch() -> None:
    epochs = Epochs([("a", index) for index in range(20)], seed=0)
    orders = [[epochs[20 * epoch + index] for index in range(20)] for epoch in range(3)]
    assert [sorted(order) for order in orders] == [sorted(orders[0])] * 3
    assert len({tuple(order) for order in orders}) == 3


def test_no_batch_is_larger_than_allowed_and_like_lengths_come_together(source: Source[Any]) -> None:
    for batch in islice(training(source), 40):
        lengths_B = batch.text.lengths_B + batch.words.lengths_B + 16
        assert len(lengths_B) * int(lengths_B.max()) <= CONFIG.max_tokens
        shortest = max(int(lengths_B.min()), 16)
        assert int(lengths_B.max()) <= 1.15 * shortest + 1


def test_two_workers_share_what_one_worker_accumulates(source: Source[Any]) -> None:
    alone = [texts(batch) for batch in islice(training(source), 20)]
    shared = [islice(training(replace(source, worker=Worker(rank, 2))), 10) for rank in range(2)]
    assert [texts(batch) for pair in zip(*shared, strict=True) for batch in pair] == alone


@pytest.mark.parametrize("read", [1, 2, 7, 13, 31])
def test_a_pipeline_goes_on_exactly_where_its_state_was_saved(source: Source[Any], read: int) -> None:
    first = training(source)
    for _ in range(read):
        next(first)
    state = pickle.loads(pickle.dumps(first.state_dict()))  # noqa: S301
    second = training(source)
    second.load_state_dict(state)
    assert [texts(batch) for batch in islice(second, 30)] == [texts(batch) for batch in islice(first, 30)]


def test_a_validation_is_the_same_each_time_and_never_trained_on(source: Source[Any]) -> None:
    validation = source.validation()
    first = [texts(batch) for batch in validation]
    assert [texts(batch) for batch in validation] == first
    assert Counter(text for batch in first for text in batch) == rows(source, valid=True)
    shared = [texts(batch) for rank in range(2) for batch in replace(source, worker=Worker(rank, 2)).validation()]
    assert sorted(shared) == sorted(first)


def test_long_examples_are_left_out_and_counted(source: Source[Any]) -> None:
    lengths = sorted(len(text) + 16 for text in rows(source, valid=False))
    longest = lengths[len(lengths) // 2] + 10
    batches = training(replace(source, config=CONFIG.model_copy(update={"max_length": longest})))
    for batch in islice(batches, 30):
        assert int((batch.text.lengths_B + batch.words.lengths_B).max()) + 16 <= longest
    assert batches.skipped > 0


def test_only_files_of_the_version_are_read(tmp_path: Path) -> None:
    first = write_corpus(tmp_path / "corpus", 10)
    write_corpus(tmp_path / "corpus", 10, seed=1)
    assert Corpus.open(first).rows("t2c") == 10
    assert Corpus.open(str(tmp_path / "corpus")).rows("t2c") == 20
    assert len(Corpus.open(first).paths("t2c")) == 2


def test_buckets_hold_as_many_positions_as_allowed() -> None:
    for config in (CONFIG, DataConfig(), DataConfig(max_tokens=2048, max_length=2048)):
        sizes = bucket_sizes(config)
        assert sizes[-1][1] == config.max_length
        assert all(count >= 1 and count * length <= config.max_tokens for count, length in sizes)
        assert [length for _, length in sizes] == sorted({length for _, length in sizes})


@pytest.mark.slow
def test_a_bucket_is_read_like_a_folder(source: Source[Any], s3_bucket: str) -> None:
    remote = replace(source, corpus=Corpus.open(write_corpus(s3_bucket)))
    expected = [texts(batch) for batch in islice(training(source), 10)]
    assert [texts(batch) for batch in islice(training(remote), 10)] == expected
