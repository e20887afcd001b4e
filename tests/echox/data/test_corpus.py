from pathlib import Path

import pytest

from echox.data.corpus import Corpus, Holdout, hold_out
from echox.errors import EchoxError
from echox.stages import text_columns
from storage.tables import read_table
from tests.echox.corpora import write_corpus


def keys(corpus: Corpus, table: str) -> list[tuple[str, str | None]]:
    tables = [read_table(corpus.store, path, ["example_id", "split"]) for path in corpus.paths(table)]
    return [(row["example_id"], row["split"]) for table_ in tables for row in table_.to_pylist()]


def held(corpus: Corpus, table: str, share: float) -> set[str]:
    holdout = hold_out(corpus, table, share)
    chosen = {name for name, split in keys(corpus, table) if holdout.is_valid(name, split)}
    kept = {name for name, split in keys(corpus, table) if holdout.is_train(name, split)}
    assert not chosen & kept
    return chosen


def test_a_share_is_held_out_the_same_in_every_table(tones: str) -> None:
    corpus = Corpus.open(tones)
    chosen = held(corpus, "s2t", 0.2)
    assert 3 <= len(chosen) <= 14
    assert held(corpus, "t2c", 0.2) == held(corpus, "echo", 0.2) == chosen
    assert chosen < held(corpus, "s2t", 0.45)


def test_at_least_one_example_is_held_out(tones: str) -> None:
    assert len(held(Corpus.open(tones), "t2c", 1e-9)) == 1


def test_a_corpus_that_marks_rows_for_validation_keeps_all_others(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", 20)
    write_corpus(tmp_path / "corpus", 4, seed=1, split="dev")
    corpus = Corpus.open(write_corpus(tmp_path / "corpus", 4, seed=2, split="test"))
    assert held(corpus, "echo", 0.3) == {name for name, split in keys(corpus, "echo") if split == "dev"}
    holdout = hold_out(corpus, "echo", 0.3)
    assert sum(holdout.is_train(*key) for key in keys(corpus, "echo")) == 20


def test_rows_of_a_test_split_are_never_used() -> None:
    assert not Holdout(0.0).is_train("a", "test")
    assert not Holdout(1.0).is_valid("a", "test")


def test_one_example_is_too_few(tmp_path: Path) -> None:
    corpus = Corpus.open(write_corpus(tmp_path / "corpus", 4, split="test"))
    with pytest.raises(EchoxError, match="'t2c' has 0 examples"):
        hold_out(corpus, "t2c", 0.05)


def test_texts_are_those_of_all_tables(tones: str) -> None:
    corpus = Corpus.open(tones)
    texts = list(corpus.texts(text_columns()))
    assert texts == list(Corpus.open(tones).texts(text_columns()))
    assert "Answer." in texts
    assert len(texts) == 40 * 3 + 20 + 32  # response twice, text; prompts; transcripts
