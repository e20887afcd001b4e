import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.export.corpora import Corpus, exported, flac_digest

webdataset: Any = pytest.importorskip("webdataset")


@pytest.fixture(scope="module")
def folder(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(corpus, tmp_path_factory.mktemp("exports") / "wds", "webdataset")


def test_webdataset_reads_what_the_corpus_holds(folder: Path, truth: dict[str, Any]) -> None:
    shards = sorted(map(str, folder.glob("*.tar")))
    assert len(shards) > 3
    read: dict[str, Any] = {}
    for sample in webdataset.WebDataset(shards, shardshuffle=False):
        assert {name for name in sample if not name.startswith("__")} == {"flac", "json"}
        facts = json.loads(sample["json"])
        read[facts["id"]] = {**facts, "audio": flac_digest(sample["flac"])}
    assert read == truth


def test_tarfile_reads_pairs_without_times_and_owners(folder: Path, truth: dict[str, Any]) -> None:
    members: list[tarfile.TarInfo] = []
    for path in folder.glob("*.tar"):
        with tarfile.open(path) as archive:
            members += archive
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    keys = [member.name.rpartition(".")[0] for member in members]
    assert keys[::2] == keys[1::2]
    assert len(set(keys)) == len(truth)
    assert not any("." in key for key in keys)


def test_a_split_holds_its_utterances_in_the_order_of_the_corpus(folder: Path, truth: dict[str, Any]) -> None:
    names = [name for path in sorted(folder.glob("test_clean-*.tar")) for name in _ids(path)]
    assert names == [name for name, facts in truth.items() if facts["split"] == "test-clean"]
    assert not [path for path in folder.glob("*.tar") if not path.name.startswith(("test_clean-", "train-"))]


def _ids(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        files = [archive.extractfile(member) for member in archive if member.name.endswith(".json")]
        return [json.loads(file.read())["id"] for file in files if file]
