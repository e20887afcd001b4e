"""Links and rows of a foreign corpus that lead to files of this machine."""

import json
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.readers import BadItem, Item
from pipelines.readers.base import Reader, read_source
from pipelines.readers.conversation import ConversationReader
from pipelines.readers.fairseq_tsv import FairseqTsvReader
from pipelines.readers.folder import FolderReader
from pipelines.readers.hf_parquet import HfParquetReader
from pipelines.readers.lhotse import LhotseReader
from pipelines.readers.librispeech import LibrispeechReader
from pipelines.readers.ljspeech import LjspeechReader
from pipelines.readers.manifest import ManifestReader
from pipelines.readers.mls import MlsReader
from pipelines.readers.rows.bounds import is_inside
from pipelines.readers.vctk import VctkReader
from tests.speech import MakeSpeech

PRIVATE = "root:x:0:0:root"


@pytest.fixture
def outside(tmp_path: Path, make_speech: MakeSpeech) -> Path:
    """A folder beside the source, with a private text and speech."""
    folder = make_speech(tmp_path / "outside", 1)
    (folder / "passwd").write_text(f"{PRIVATE}\n")
    return folder


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def reasons(reader: Reader) -> list[str | None]:
    found = list(read_source(reader, 0))
    assert PRIVATE not in repr(found)
    return [entry.reason if isinstance(entry, BadItem) else None for entry in found]


LAYOUTS: dict[str, tuple[type[Reader], str, str]] = {
    "folder": (FolderReader, "a.wav", "a.txt"),
    "libritts": (FolderReader, "x/a.wav", "x/a.normalized.txt"),
    "vctk": (VctkReader, "wav48/p1/p1_1.wav", "txt/p1/p1_1.txt"),
    "librispeech": (LibrispeechReader, "dev/1/2/1-2-0.flac", "dev/1/2/1-2.trans.txt"),
    "mls": (MlsReader, "dev/audio/1/2/1_2_0.flac", "dev/transcripts.txt"),
    "ljspeech": (LjspeechReader, "wavs/a.wav", "metadata.csv"),
}


@pytest.mark.parametrize(("kind", "audio", "text"), LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("link", ["out", "out by two", "relative", "loop", "nowhere", "in"])
def test_a_text_that_is_a_link(
    kind: type[Reader], audio: str, text: str, link: str, inside: Path, outside: Path
) -> None:
    for name in (audio, text):
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
    (inside / audio).write_bytes(b"1")
    (inside / ".hop").symlink_to(outside / "passwd")
    (inside / ".own").write_text("hello")
    up = "../" * text.count("/")
    targets = {
        "out": str(outside / "passwd"),
        "out by two": f"{up}.hop",
        "relative": f"{up}../outside/passwd",
        "loop": Path(text).name,
        "nowhere": f"{up}none",
        "in": f"{up}.own",
    }
    (inside / text).symlink_to(targets[link])
    found = list(read_source(kind(path=str(inside), dataset="d"), 0))
    assert PRIVATE not in repr(found)
    bad = [entry.reason for entry in found if isinstance(entry, BadItem) and "hello" not in repr(entry)]
    texts = [entry.text for entry in found if isinstance(entry, Item)]
    of_one = kind in (FolderReader, VctkReader)  # such a text belongs to one utterance, the others to several
    if link == "in":
        assert (bad, texts) in (([], ["hello"]), ([], [None]), (["bad_row"], [None]))
    else:
        assert bad == ["bad_text" if link in ("loop", "nowhere") else "outside"]
        assert texts == ([] if of_one else [None])


def test_a_text_that_links_within_a_linked_folder_is_read(inside: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.wav").write_bytes(b"1")
    (other / "texts").mkdir()
    (other / "texts" / "1").write_text("hello")
    (other / "a.txt").symlink_to("texts/1")
    (inside / "linked").symlink_to(other)
    items = [item for item in FolderReader(path=str(inside), dataset="d").read() if isinstance(item, Item)]
    assert [item.text for item in items if item.uri and item.uri.endswith("a.wav")] == ["hello"]
    confined = FolderReader(path=str(inside), dataset="d", confine=True)
    assert set(reasons(confined)) == {"outside"}


def test_labels_of_fairseq_that_are_a_link(inside: Path, outside: Path) -> None:
    (inside / "train.tsv").write_text(f"{inside}\na.wav\t100\n")
    (inside / "train.wrd").symlink_to(outside / "passwd")
    with pytest.raises(UserError, match="leads out") as error:
        list(FairseqTsvReader(path=str(inside / "train.tsv"), dataset="d", labels="wrd").read())
    assert PRIVATE not in str(error.value)


def rows_of(inside: Path, outside: Path) -> list[str]:
    """Paths of audio: one of the source, and others."""
    clip = next(outside.glob("*.wav"))
    (inside / "own.wav").write_bytes(clip.read_bytes())
    (inside / "link.wav").symlink_to(clip)
    (inside / "folder").symlink_to(outside)
    return [
        "own.wav",
        f"../outside/{clip.name}",
        str(clip),
        f"file://{clip}",
        "link.wav",
        f"folder/{clip.name}",
        "https://127.0.0.1:9/a.wav",
        "s3://bucket/a.wav",
        "folder/../../outside/passwd",
    ]


def test_rows_of_a_confined_manifest(inside: Path, outside: Path) -> None:
    paths = rows_of(inside, outside)
    lines = [json.dumps({"audio": path, "start": 0, "end": 0.3, "text": "x"}) for path in paths]
    (inside / "list.jsonl").write_text("\n".join(lines))
    made = {"path": str(inside / "list.jsonl"), "dataset": "d"}
    assert reasons(ManifestReader(**made)) == [None] * len(paths)
    assert reasons(ManifestReader(**made, confine=True)) == [None] + ["outside"] * (len(paths) - 1)
    widened = reasons(ManifestReader(**made, confine=True, audio_dir=str(outside)))
    assert widened[2:4] == [None, None]
    assert widened[6:8] == ["outside"] * 2


def test_other_kinds_of_confined_sources(inside: Path, outside: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = rows_of(inside, outside)
    turns = [{"from": "human", "audio": path} for path in paths]
    (inside / "talk.json").write_text(json.dumps([{"id": "1", "conversations": turns}]))
    cuts = [
        {"id": str(n), "sources": [{"type": "file", "source": path, "channels": [0]}], "sampling_rate": 16000}
        for n, path in enumerate(paths)
    ]
    (inside / "cuts.jsonl").write_text("\n".join(map(json.dumps, cuts)))
    (inside / "list.tsv").write_text(f"{inside}\n" + "".join(f"{path}\t100\n" for path in paths))
    (inside / "root.tsv").write_text(f"{outside}\npasswd\t100\n")
    pq.write_table(pa.table({"audio": paths}), inside / "t.parquet")
    expected = [None] + ["outside"] * (len(paths) - 1)
    for kind, name in (
        (ConversationReader, "talk.json"),
        (LhotseReader, "cuts.jsonl"),
        (FairseqTsvReader, "list.tsv"),
        (HfParquetReader, "t.parquet"),
    ):
        assert reasons(kind(path=str(inside / name), dataset="d", confine=True)) == expected, kind
    assert reasons(FairseqTsvReader(path=str(inside / "root.tsv"), dataset="d", confine=True)) == ["outside"]


def test_files_of_a_confined_folder_that_are_links(inside: Path, outside: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"audio": ["a.wav"], "text": [PRIVATE]}), outside / "t.parquet")
    (inside / "t.parquet").symlink_to(outside / "t.parquet")
    talk = [{"id": "1", "conversations": [{"from": "human", "value": PRIVATE}]}]
    (outside / "talk.json").write_text(json.dumps(talk))
    (inside / "talk.json").symlink_to(outside / "talk.json")
    (inside / "a.wav").symlink_to(next(outside.glob("*.wav")))
    for kind in (HfParquetReader, ConversationReader, FolderReader):
        assert reasons(kind(path=str(inside), dataset="d", confine=True)) == ["outside"], kind


@pytest.mark.parametrize(
    ("uri", "root", "expected"),
    [
        ("https://host/b/x.wav", "https://host/a/m.csv", True),
        ("https://host:443/x.wav", "https://HOST/a/m.csv", True),
        ("http://host/x.wav", "https://host/a/m.csv", False),
        ("https://host:8443/x.wav", "https://host/a/m.csv", False),
        ("https://host.evil.org/x.wav", "https://host/a/m.csv", False),
        ("https://evil.org/https://host/a/x.wav", "https://host/a/m.csv", False),
        ("/etc/passwd", "https://host/a/m.csv", False),
        ("file:///etc/passwd", "https://host/a/m.csv", False),
        ("memory://corpus/a/x.wav", "memory://corpus/a/m.csv", True),
        ("memory://corpus/ab/x.wav", "memory://corpus/a/m.csv", False),
        ("memory://corpus/a/../b/x.wav", "memory://corpus/a/m.csv", False),
        ("nonsense://host/x.wav", "https://host/a/m.csv", False),
    ],
)
def test_bounds_of_urls(uri: str, root: str, expected: bool) -> None:
    assert is_inside(uri, [root]) is expected


def test_rows_are_not_measured_outside(inside: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[object] = []
    monkeypatch.setattr("pipelines.readers.rows.times.measure", lambda source: measured.append(source))
    clip = next(outside.glob("*.wav"))
    (inside / "list.csv").write_text(f"audio,start_time,end_time\n{clip},1,2\n")
    assert reasons(ManifestReader(path=str(inside / "list.csv"), dataset="d", confine=True)) == ["outside"]
    assert measured == []
