from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.readers import BadItem, Item
from pipelines.readers.mls import MlsReader


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "mls_german"
    for name in (
        "dev/audio/10/20/10_20_000001.flac",
        "dev/audio/10/20/10_20_000002.opus",
        "test/audio/1/2/1_2_0.flac",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"12")
    (root / "dev/transcripts.txt").write_bytes(
        b"10_20_000002\tzweiter satz\n10_20_000003\tfehlt\n10_20_000002\tnochmal\nnonsense\n\xff\tx\n"
    )
    (root / "test/transcripts.txt").write_text("")
    return root


def test_the_whole_corpus(root: Path) -> None:
    entries = list(MlsReader(path=str(root), dataset="mls", language="de").read())
    items = [entry for entry in entries if isinstance(entry, Item)]
    assert items[0] == Item(
        utterance_id="mls/10_20_000002",
        dataset="mls",
        uri=str(root / "dev/audio/10/20/10_20_000002.opus"),
        size=2,
        split="dev",
        language="de",
        speaker_id="10",
        text="zweiter satz",
    )
    assert [(item.utterance_id, item.split, item.text) for item in items[1:]] == [
        ("mls/10_20_000001", "dev", None),
        ("mls/1_2_0", "test", None),
    ]
    bad = [(entry.reason, entry.source) for entry in entries if isinstance(entry, BadItem)]
    place = f"{root}/dev/transcripts.txt"
    assert bad == [
        ("missing", f"{place}:2"),
        ("bad_row", f"{place}:3"),
        ("bad_row", f"{place}:4"),
        ("bad_text", f"{place}:5"),
    ]


def test_one_split(root: Path) -> None:
    entries = list(MlsReader(path=str(root / "dev"), dataset="mls", language="de").read())
    assert {entry.split for entry in entries if isinstance(entry, Item)} == {"dev"}
    assert len(entries) == 6


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"transcripts\.txt"):
        list(MlsReader(path=str(tmp_path), dataset="mls").read())
