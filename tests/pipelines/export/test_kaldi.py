import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from pipelines.export.base import Export
from pipelines.export.files import whole_files
from pipelines.export.formats import kaldi
from pipelines.export.formats.kaldi import Kaldi
from pipelines.export.plan import Plan, Shard
from pipelines.export.utterances import Utterance
from tests.pipelines.export.corpora import RATE, Corpus, digest, exported, files_of

kaldiio = pytest.importorskip("kaldiio")
SPLITS = ("train", "test_clean")
TABLES = ("wav.scp", "text", "utt2spk", "spk2utt", "utt2lang", "utt2dur", "units", "words")


@pytest.fixture(scope="module")
def folder(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(corpus, tmp_path_factory.mktemp("exports") / "kaldi", "kaldi")


def table(path: Path) -> dict[str, str]:
    rows = [line.partition(" ") for line in path.read_text("utf-8").splitlines()]
    assert len(dict.fromkeys(row[0] for row in rows)) == len(rows)
    return {name: value for name, _, value in rows}


def original(name: str, dataset: str) -> str:
    """The id of an utterance of which Kaldi's is known."""
    return f"{dataset}/{unquote(name.partition('+')[2].replace('=', '%'))}"


@pytest.mark.parametrize("split", SPLITS)
def test_kaldiio_reads_what_the_corpus_holds(
    folder: Path, split: str, truth: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / split)
    tables = {name: table(Path(name)) for name in TABLES}
    expected = {name: facts for name, facts in truth.items() if (facts["split"] == "test-clean") == (split != "train")}
    assert len(expected) > 10
    read: set[str] = set()
    for name, (rate, pcm_N) in kaldiio.load_scp("wav.scp").items():
        facts = truth[original(name, unquote(name.partition("+")[0].replace("=", "%")).partition("/")[0])]
        assert rate == RATE
        assert digest(pcm_N) == facts["audio"]
        assert round(float(tables["utt2dur"][name]) * RATE) == facts["num_samples"]
        assert tables["text"].get(name) == (" ".join(facts["text"].split()) if facts["text"] else None)
        assert tables["utt2lang"].get(name) == facts["language"]
        assert _integers(tables["words"][name]) == facts["words"]
        runs = zip(facts["units"], facts["durations"], strict=True)
        assert _integers(tables["units"][name]) == [unit for unit, frames in runs for _ in range(frames)]
        read.add(facts["id"])
    assert read == set(expected)


@pytest.mark.parametrize("split", SPLITS)
def test_the_tables_are_sorted_by_utterance_and_by_speaker_as_kaldi_demands(folder: Path, split: str) -> None:
    for name in TABLES:
        assert sorted_by_c(folder / split / name, "-k1,1"), name
    assert sorted_by_c(folder / split / "utt2spk", "-k2")
    assert {*table(folder / split / "utt2spk")} == {*table(folder / split / "wav.scp")}


def sorted_by_c(path: Path, key: str) -> bool:
    return (
        subprocess.run(["sort", "-c", "-s", key, path], env={**os.environ, "LC_ALL": "C"}, check=False).returncode == 0
    )


@pytest.mark.parametrize("split", SPLITS)
def test_spk2utt_is_the_inverse_of_utt2spk(folder: Path, split: str, truth: dict[str, Any]) -> None:
    speakers = table(folder / split / "spk2utt")
    pairs = {utterance: speaker for speaker, names in speakers.items() for utterance in names.split()}
    assert pairs == table(folder / split / "utt2spk")
    known = {unquote(name.replace("=", "%")) for name, names in speakers.items() if name not in names.split()}
    of_split = [f for f in truth.values() if (f["split"] == "test-clean") == (split != "train") and f["speaker"]]
    assert known == {f"{facts['dataset']}/{facts['speaker']}" for facts in of_split}


def test_tables_of_many_shards_are_merged_with_few_open_files(
    corpus: Corpus, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kaldi, "OPEN_FILES", 2)
    assert files_of(exported(corpus, tmp_path / "again", "kaldi")) == files_of(folder)


def test_a_table_of_what_is_not_known_is_left_out(corpus: Corpus, truth: dict[str, Any], tmp_path: Path) -> None:
    facts = {**next(iter(truth.values())), "text": None, "language": None, "speaker": None, "num_samples": 3}
    shard = Shard("train", 0, 1, (), 3)
    with whole_files(tmp_path, Kaldi().paths(shard)) as drafts:
        Kaldi().write(drafts, [Utterance(facts, iter([np.array([1, -2, 3], np.int16)]))])
    written = Kaldi().finish(Export(tmp_path, corpus.store, corpus.version, Plan((shard,), {}, {}, (), {}), []))
    assert {Path(path).name for path in written} == {*TABLES} - {"text", "utt2lang"}
    assert {path.name for path in (tmp_path / "train").iterdir()} == {"audio", *(Path(path).name for path in written)}


def _integers(line: str) -> list[int]:
    return [int(number) for number in line.split()]
