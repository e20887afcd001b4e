import os
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.readers import BadItem, Item
from pipelines.readers.librispeech import LibrispeechReader


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "LibriSpeech"
    for name in ("dev-clean/84/121/84-121-0000", "dev-clean/84/121/84-121-0001", "test-other/9/12/9-12-0000"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.flac").write_bytes(b"123")
    (root / "README.TXT").write_text("about")
    transcript = root / "dev-clean/84/121/84-121.trans.txt"
    transcript.write_bytes(b"84-121-0000 GO DO YOU HEAR\n84-121-0002 GONE\n84-121-0003 \xff\n")
    return root


def test_the_whole_corpus(root: Path) -> None:
    entries = list(LibrispeechReader(path=str(root), dataset="ls").read())
    items = [entry for entry in entries if isinstance(entry, Item)]
    assert items[0] == Item(
        utterance_id="ls/84-121-0000",
        dataset="ls",
        uri=str(root / "dev-clean/84/121/84-121-0000.flac"),
        size=3,
        split="dev-clean",
        language="en",
        speaker_id="84",
        text="GO DO YOU HEAR",
    )
    assert [(item.utterance_id, item.split, item.text) for item in items[1:]] == [
        ("ls/84-121-0001", "dev-clean", None),
        ("ls/9-12-0000", "test-other", None),
    ]
    bad = {(entry.reason, entry.utterance_id) for entry in entries if isinstance(entry, BadItem)}
    assert bad == {("bad_text", None), ("missing", "ls/84-121-0002")}


def test_one_split_gives_the_same_entries(root: Path) -> None:
    whole = list(LibrispeechReader(path=str(root), dataset="ls").read())
    split = list(LibrispeechReader(path=str(root / "dev-clean"), dataset="ls").read())
    assert split == whole[: len(split)]
    assert len(split) == len(whole) - 1


def test_another_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(b"1")
    with pytest.raises(UserError, match="layout"):
        list(LibrispeechReader(path=str(tmp_path), dataset="ls").read())


def test_a_pipe_for_a_transcript_costs_the_texts_only(root: Path) -> None:
    transcript = root / "dev-clean/84/121/84-121.trans.txt"
    transcript.unlink()
    os.mkfifo(transcript)
    entries = list(LibrispeechReader(path=str(root), dataset="ls").read())
    assert [(entry.source, entry.reason) for entry in entries if isinstance(entry, BadItem)] == [
        (str(transcript), "bad_text")
    ]
    assert [entry.text for entry in entries if isinstance(entry, Item)] == [None] * 3


def test_a_second_line_of_one_id_is_counted(root: Path) -> None:
    transcript = root / "dev-clean/84/121/84-121.trans.txt"
    with transcript.open("a") as file:
        file.write("84-121-0000 ANOTHER\n84-121-0000 GO DO YOU HEAR\n")
    entries = list(LibrispeechReader(path=str(root), dataset="ls").read())
    told = [entry for entry in entries if isinstance(entry, BadItem) and entry.reason == "duplicate_id"]
    assert [entry.utterance_id for entry in told] == ["ls/84-121-0000"] * 2
    assert next(entry.text for entry in entries if isinstance(entry, Item)) == "GO DO YOU HEAR"
