from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.readers import BadItem, Item
from pipelines.readers.fairseq_tsv import FairseqTsvReader


def test_rows_with_labels(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "a.flac").write_bytes(b"123")
    path = tmp_path / "train.tsv"
    path.write_text(f"{tmp_path}/audio\na.flac\t16000\nb.flac\tmany\nsub/c.flac\t8000\n")
    (tmp_path / "train.ltr").write_text("H I | Y O U |\nx\n\n")
    entries = list(FairseqTsvReader(path=str(path), dataset="d", labels="ltr", split="train").read())
    assert entries[0] == Item(
        utterance_id="d/a.flac",
        dataset="d",
        uri=str(tmp_path / "audio" / "a.flac"),
        size=3,
        split="train",
        text="HI YOU",
    )
    assert isinstance(entries[1], BadItem)
    assert (entries[1].source, entries[1].reason) == (f"{path}:3", "bad_row")
    assert isinstance(entries[2], Item)
    assert (entries[2].utterance_id, entries[2].text) == ("d/sub/c.flac", None)


def test_the_root_may_be_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    path.write_text("/cluster/data\na.flac\t1\n")
    for audio_dir, uri in ((None, "/cluster/data/a.flac"), ("/here", "/here/a.flac")):
        (item,) = FairseqTsvReader(path=str(path), dataset="d", audio_dir=audio_dir).read()
        assert isinstance(item, Item)
        assert (item.uri, item.text) == (uri, None)


def test_an_unreadable_label_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    path.write_text("/data\na.flac\t1\nb.flac\t1\n")
    (tmp_path / "m.wrd").write_bytes(b"\xff\nb\n")
    bad, item = FairseqTsvReader(path=str(path), dataset="d", labels="wrd").read()
    assert isinstance(bad, BadItem)
    assert bad.reason == "bad_text"
    assert isinstance(item, Item)
    assert item.text == "b"


def test_labels_of_another_length_and_a_missing_root_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    path.write_text("/data\na.flac\t1\nb.flac\t1\n")
    (tmp_path / "m.wrd").write_text("one\n")
    with pytest.raises(UserError, match="1 lines, but"):
        list(FairseqTsvReader(path=str(path), dataset="d", labels="wrd").read())
    path.write_text("a.flac\t1\n")
    with pytest.raises(UserError, match="root folder"):
        list(FairseqTsvReader(path=str(path), dataset="d").read())
