from pathlib import Path

import pytest

from echox.data import corpus as corpora
from echox.data.contents import read_contents
from echox.data.corpus import Corpus, Holdout, hold_out
from echox.errors import EchoxError
from echox.stages import text_columns
from storage.tables import read_table
from tests.echox.corpora import write_corpus
from tests.echox.shelves import write_shelves


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


def test_examples_to_validate_on_alone_are_too_few(tmp_path: Path) -> None:
    corpus = Corpus.open(write_corpus(tmp_path / "corpus", 4, split="dev"))
    with pytest.raises(EchoxError, match=r"'t2c' has 4 examples to validate on and none to train on.*split train"):
        hold_out(corpus, "t2c", 0.05)


def test_texts_are_those_of_all_tables(tones: str) -> None:
    corpus = Corpus.open(tones)
    texts = list(corpus.texts(text_columns()))
    assert texts == list(Corpus.open(tones).texts(text_columns()))
    assert "Answer." in texts
    assert len(texts) == 40 * 3 + 20 + 32  # response twice, text; prompts; transcripts


def test_what_was_read_of_files_is_known_to_a_resumed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Receipts of older programs do not say what is in their files: a run reads it once, not at each resume."""
    shelves = write_shelves(tmp_path / "store", 3, stated=False)
    expected = [read_contents(shelves.store, path) for path in shelves.paths("s2t")]
    monkeypatch.setattr(corpora, "_read", {})
    corpora.keep_read_contents(tmp_path / "none.json")
    assert not (tmp_path / "none.json").exists(), "nothing was read"
    assert shelves.contents("s2t") == expected
    corpora.keep_read_contents(tmp_path / "contents.json")

    def refuse(*_: object) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr(corpora, "read_contents", refuse)
    monkeypatch.setattr(corpora, "_read", {})
    (tmp_path / "damaged.json").write_text("{")
    for name in ("damaged.json", "none.json"):
        corpora.recall_read_contents(tmp_path / name)
        with pytest.raises(AssertionError, match="a file was read"):
            shelves.contents("s2t")
    corpora.recall_read_contents(tmp_path / "contents.json")
    assert shelves.contents("s2t") == expected


def test_a_receipt_that_says_it_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelves = write_shelves(tmp_path / "store", 3, 300, splits=("train", "test", "dev"))
    expected = [read_contents(shelves.store, path) for path in shelves.paths("s2t")]
    for path in shelves.paths("s2t"):
        (tmp_path / "store" / path).unlink()
    assert Corpus.open(f"{tmp_path}/store").contents("s2t") == expected
    assert [tuple(group) for group in expected[0].groups] == [(256, 86, 85), (44, 14, 15)]
