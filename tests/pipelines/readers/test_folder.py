import os
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.readers import BadItem, Item
from pipelines.readers.folder import FolderReader


def test_files_with_their_texts(tmp_path: Path) -> None:
    for name in ("x/a.wav", "a.flac", "no_extension", "lying.mp4", "notes.md", "metadata.JSON"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1234")
    (tmp_path / "a.txt").write_text("\ufeffGrüß dich\n", "utf-8")
    (tmp_path / "no_extension.txt").write_text(" \n")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere")
    items = list(FolderReader(path=str(tmp_path), dataset="d", task="tts", language="de", split="dev").read())
    assert all(isinstance(item, Item) for item in items)
    names = ["a.flac", "gone.wav", "lying.mp4", "no_extension", "x/a.wav"]
    assert [item.utterance_id for item in items] == [f"d/{name}" for name in names]
    assert items[0] == Item(
        utterance_id="d/a.flac",
        dataset="d",
        uri=str(tmp_path / "a.flac"),
        size=4,
        split="dev",
        task="tts",
        language="de",
        text="Grüß dich",
    )
    assert [getattr(item, "text", "") for item in items[1:]] == [None] * 4


def test_the_glob_chooses(tmp_path: Path) -> None:
    for name in ("train/a.wav", "train/b.flac", "dev/a.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    items = list(FolderReader(path=str(tmp_path), dataset="d", glob="train/*.wav").read())
    assert [item.utterance_id for item in items] == ["d/train/a.wav"]
    with pytest.raises(UserError, match="matches"):
        list(FolderReader(path=str(tmp_path), dataset="d", glob="*.ogg").read())


def test_what_cannot_be_an_utterance_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"1")
    (tmp_path / "a.txt").write_bytes("Grüße".encode("latin-1"))
    (tmp_path / "b.wav").write_bytes(b"1")
    (tmp_path / "b.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "c.wav").write_bytes(b"1")
    os.mkfifo(tmp_path / "c.txt")
    os.mkfifo(tmp_path / "pipe.wav")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav")).write_bytes(b"1")
    bad = list(FolderReader(path=str(tmp_path), dataset="d").read())
    assert all(isinstance(item, BadItem) for item in bad)
    assert [getattr(item, "reason", "") for item in bad] == ["bad_text"] * 3 + ["not_audio", "bad_name"]
    assert bad[0].utterance_id == "d/a.wav"
    assert str(getattr(bad[4], "source", "")).endswith("/\\xff.wav")


def test_a_replaced_file_has_another_key(tmp_path: Path) -> None:
    reader = FolderReader(path=str(tmp_path), dataset="d")
    (tmp_path / "a.wav").write_bytes(b"1")
    (first,) = reader.read()
    (tmp_path / "a.wav").write_bytes(b"12")
    (second,) = reader.read()
    assert first.key() != second.key()


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"SA1.WAV": "", "SA1.TXT": "upper"}, "upper"),
        ({"a.wav": "", "a.Txt": "mixed"}, "mixed"),
        ({"a.wav": "", "a.txt": "lower", "a.TXT": "upper"}, "lower"),
        ({"a.wav": "", "a.normalized.txt": "normalized", "a.original.txt": "original"}, "normalized"),
        ({"a.wav": "", "a.original.txt": "original"}, "original"),
        ({"a.wav": "", "a.normalized.txt": "normalized", "a.txt": "plain"}, "plain"),
        ({"SX1.WAV": "", "SX1.TXT": "0 46797 She had", "SX1.PHN": "0 9640 h#", "SX1.WRD": "1 2 she"}, "She had"),
        ({"a.wav": "", "a.txt": "1 2 three"}, "1 2 three"),
        ({"e\u0301.wav": "", "\xe9.txt": "composed"}, "composed"),
        ({"a.wav": "", "A.txt": "of another file"}, None),
    ],
)
def test_texts_under_other_names(tmp_path: Path, files: dict[str, str], text: str | None) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    (item,) = FolderReader(path=str(tmp_path), dataset="d").read()
    assert isinstance(item, Item)
    assert item.text == text
