import os
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.readers import BadItem, Item
from pipelines.readers.ljspeech import LjspeechReader


def read(path: Path, **options: str) -> tuple[list[Item], list[BadItem]]:
    entries = list(LjspeechReader.model_validate({"path": str(path), "dataset": "d", **options}).read())
    items = [entry for entry in entries if isinstance(entry, Item)]
    return items, [entry for entry in entries if isinstance(entry, BadItem)]


def put(root: Path, **files: str) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def test_lines_with_two_and_three_fields(tmp_path: Path) -> None:
    lines = [
        "LJ001-0001|Chapter 1|Chapter one",
        'LJ001-0002|"Stop," she said',
        "LJ001-0003|only raw|",
        "",
        "LJ001-0004||",
    ]
    files = {f"wavs/LJ001-000{n}.wav": "x" for n in range(1, 6)}
    put(tmp_path, **{"metadata.csv": "\ufeff" + "\r\n".join(lines)}, **files)
    items, bad = read(tmp_path, language="en")
    assert bad == []
    assert [item.text for item in items] == ["Chapter one", '"Stop," she said', "only raw", None, None]
    assert items[0] == Item(
        utterance_id="d/LJ001-0001",
        dataset="d",
        uri=str(tmp_path / "wavs" / "LJ001-0001.wav"),
        size=1,
        language="en",
        text="Chapter one",
    )


def test_what_is_no_utterance_is_told(tmp_path: Path) -> None:
    put(tmp_path, **{"metadata.csv": "a|x\nb|x\nc\n|x\nd|x|y|z\n", "wavs/a.flac": "x", "wavs/a.wav": "x"})
    with (tmp_path / "metadata.csv").open("ab") as file:
        file.write(b"a\xff|x\n")
    os.mkfifo(tmp_path / "wavs" / "pipe.wav")
    items, bad = read(tmp_path)
    assert [Path(str(item.uri)).name for item in items] == ["a.flac"]
    place = tmp_path / "metadata.csv"
    assert [(entry.source, entry.reason, entry.utterance_id) for entry in bad] == [
        (f"{place}:2", "missing", "d/b"),
        (f"{place}:3", "bad_row", "d/c"),
        (f"{place}:4", "bad_row", None),
        (f"{place}:5", "bad_row", "d/d"),
        (f"{place}:6", "bad_text", None),
        (str(tmp_path / "wavs" / "a.wav"), "duplicate_id", "d/a"),
        (str(tmp_path / "wavs" / "pipe.wav"), "not_audio", "d/pipe"),
    ]


def test_another_layout_is_refused(tmp_path: Path) -> None:
    put(tmp_path, **{"metadata.csv": "a|x\n", "a.wav": "x"})
    with pytest.raises(UserError, match="not LJSpeech's layout"):
        read(tmp_path)
