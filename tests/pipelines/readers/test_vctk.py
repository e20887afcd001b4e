from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.readers import BadItem, Item
from pipelines.readers.vctk import VctkReader


def read(path: Path, **options: str) -> tuple[list[Item], list[BadItem]]:
    entries = list(VctkReader.model_validate({"path": str(path), "dataset": "d", **options}).read())
    items = [entry for entry in entries if isinstance(entry, Item)]
    return items, [entry for entry in entries if isinstance(entry, BadItem)]


def put(root: Path, **files: str) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def test_both_releases(tmp_path: Path) -> None:
    put(
        tmp_path,
        **{
            "speaker-info.txt": "ID AGE",
            "txt/p225/p225_001.txt": "Please call Stella.\n",
            "wav48_silence_trimmed/p225/p225_001_mic1.flac": "x",
            "wav48_silence_trimmed/p225/p225_001_mic2.flac": "x",
            "wav48/p225/p225_001.wav": "x",
            "wav48/p315/p315_001.wav": "x",
        },
    )
    items, bad = read(tmp_path)
    assert bad == []
    text = "Please call Stella."
    assert [(item.utterance_id, item.speaker_id, item.text) for item in items] == [
        ("d/p225_001", "p225", text),
        ("d/p315_001", "p315", None),
        ("d/p225_001_mic1", "p225", text),
        ("d/p225_001_mic2", "p225", text),
    ]
    assert {item.language for item in items} == {"en"}
    assert [item.utterance_id for item in read(tmp_path, glob="*_mic1.flac")[0]] == ["d/p225_001_mic1"]


def test_texts_without_audio_and_texts_that_cannot_be_read_are_rejects(tmp_path: Path) -> None:
    put(tmp_path, **{"txt/s5/s5_001.txt": "x", "txt/s5/s5_002.txt": "", "wav/s5/s5_002.wav": "x"})
    (tmp_path / "txt/s5/s5_002.txt").write_bytes(b"\xff")
    items, bad = read(tmp_path)
    assert items == []
    assert [(entry.reason, entry.utterance_id) for entry in bad] == [("bad_text", "d/s5_002"), ("missing", "d/s5_001")]


@pytest.mark.parametrize("name", ["wav48/p225/p225_001.wav", "txt/p225/p225_001.txt"])
def test_another_layout_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path, **{name: "x"})
    with pytest.raises(UserError, match="not VCTK's layout"):
        read(tmp_path)


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    put(tmp_path, **{"wav48/p225/p225_001.wav": "x", "txt/p225/p225_001.txt": "x"})
    with pytest.raises(UserError, match="_mic1"):
        read(tmp_path, glob="*_mic1.flac")
