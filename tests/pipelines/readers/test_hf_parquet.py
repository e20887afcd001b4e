import os
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipelines.errors import UserError
from pipelines.readers import BadItem, Item
from pipelines.readers.hf_parquet import HfParquetReader
from pipelines.readers.parquet_audio import fetch
from unitlang.errors import Unreachable

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: Path, audio: list[Any], kind: pa.DataType = AUDIO, rows: int = 2, **columns: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"audio": pa.array(audio, kind), **columns})
    pq.write_table(table, path, row_group_size=rows)


def read(path: Path, **options: str) -> tuple[list[Item], list[BadItem]]:
    reader = HfParquetReader.model_validate({"path": str(path), "dataset": "d", **options})
    entries = list(reader.read())
    items = [entry for entry in entries if isinstance(entry, Item)]
    return items, [entry for entry in entries if isinstance(entry, BadItem)]


def test_embedded_audio_paths_and_nothing(tmp_path: Path) -> None:
    path = tmp_path / "data" / "train-00000-of-00001.parquet"
    audio = [
        {"bytes": b"one", "path": "1.wav"},
        {"bytes": b"two", "path": None},
        {"bytes": None, "path": "3.wav"},
        {"bytes": b"four", "path": "4.wav"},
        {"bytes": None, "path": None},
        None,
    ]
    write(
        path,
        audio,
        id=["a", "b", "c", None, "e", "f"],
        sentence=list("ABCDEF"),
        speaker_id=[1, 2, 3, 4, 5, 6],
    )
    (tmp_path / "data" / "3.wav").write_bytes(b"three")
    items, bad = read(tmp_path, language="en")
    assert [item.utterance_id for item in items] == ["d/a", "d/b", "d/c", "d/data/train-00000-of-00001-3"]
    assert [item.text for item in items] == list("ABCD")
    assert {(item.split, item.language) for item in items} == {("train", "en")}
    assert [item.speaker_id for item in items] == ["1", "2", "3", "4"]
    assert items[2].uri == str(tmp_path / "data" / "3.wav")
    assert items[2].size == 5
    assert [fetch(items[n].uri or "") for n in (0, 1, 3)] == [b"one", b"two", b"four"]
    assert items[0].size == path.stat().st_size
    assert [entry.source for entry in bad] == [f"{path}, row 4", f"{path}, row 5"]


@pytest.mark.parametrize(
    ("kind", "audio"),
    [
        (pa.binary(), [b"x", b"y"]),
        (pa.large_binary(), [b"x", b"y"]),
        (pa.struct([("bytes", pa.binary())]), None),
    ],
)
def test_other_kinds_of_embedded_audio(tmp_path: Path, kind: pa.DataType, audio: list[bytes] | None) -> None:
    write(tmp_path / "a.parquet", audio or [{"bytes": b"x"}, {"bytes": b"y"}], kind)
    items, _ = read(tmp_path / "a.parquet")
    assert [item.utterance_id for item in items] == ["d/a-0", "d/a-1"]
    assert [fetch(item.uri or "") for item in items] == [b"x", b"y"]


def test_paths_alone_and_chosen_columns(tmp_path: Path) -> None:
    write(
        tmp_path / "x-1.parquet",
        ["a.wav", "/b.wav"],
        pa.string(),
        name=["n1", "n2"],
        text=["t", "t"],
        raw=["r", ""],
    )
    write(tmp_path / "y-1.parquet", ["c.wav"], pa.string())
    items, bad = read(tmp_path / "x-*.parquet", id_column="name", text_column="raw")
    assert bad == []
    assert [item.uri for item in items] == [str(tmp_path / "a.wav"), "/b.wav"]
    assert [(item.utterance_id, item.text) for item in items] == [("d/n1", "r"), ("d/n2", None)]


def test_a_broken_file_costs_itself_only(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [b"x"], pa.binary())
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nonsense")
    (tmp_path / "c.parquet").write_bytes(b"")
    items, bad = read(tmp_path)
    assert [item.utterance_id for item in items] == ["d/a-0"]
    assert [(entry.source, entry.reason) for entry in bad] == [
        (str(tmp_path / "b.parquet"), "corrupt"),
        (str(tmp_path / "c.parquet"), "corrupt"),
    ]


def test_a_pipe_is_told_and_not_opened(tmp_path: Path) -> None:
    write(tmp_path / "b.parquet", [b"x"], pa.binary())
    os.mkfifo(tmp_path / "a.parquet")
    items, bad = read(tmp_path)
    assert [item.utterance_id for item in items] == ["d/b-0"]
    assert [(entry.source, entry.reason) for entry in bad] == [(str(tmp_path / "a.parquet"), "missing")]


class TimingOutPlace(MemoryFileSystem):  # pyright: ignore[reportUntypedBaseClass]
    """A store at `timing-out://` that lists its files but does not answer."""

    protocol = "timing-out"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("timing-out://").strip("/")

    def _open(self, path: str, *_: object, **__: object) -> Any:
        raise TimeoutError(path)


def test_a_store_that_does_not_answer_condemns_no_file(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [b"x"], pa.binary())
    fsspec.filesystem("memory").pipe("/slow/a.parquet", (tmp_path / "a.parquet").read_bytes())
    fsspec.register_implementation("timing-out", TimingOutPlace, clobber=True)
    with pytest.raises(Unreachable, match="TimeoutError"):
        list(HfParquetReader(path="timing-out://slow", dataset="d").read())


def test_what_holds_no_audio_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [[0.5]], pa.list_(pa.float32()), text=["x"])
    with pytest.raises(UserError, match="neither bytes nor paths"):
        read(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"no column 'speech'; there are audio, text"):
        read(tmp_path / "a.parquet", audio_column="speech")
    with pytest.raises(UserError, match="no Parquet file"):
        read(tmp_path / "z-*.parquet")
    with pytest.raises(UserError):
        read(tmp_path / "absent.parquet")
