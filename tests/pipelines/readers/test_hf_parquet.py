import os
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
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


def read(path: Path, **options: Any) -> tuple[list[Item], list[BadItem]]:
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


def seconds(count: float, rate: int = 16_000) -> bytes:
    """A WAV file of silence."""
    file = BytesIO()
    soundfile.write(file, np.zeros(round(count * rate), np.float32), rate, format="WAV")
    return file.getvalue()


def embedded(path: Path, count: int, audio: bytes, **columns: list[Any]) -> None:
    write(path, [{"bytes": audio, "path": None}] * count, rows=100, **columns)


@pytest.mark.parametrize(
    "columns",
    [
        {"start": [0.25, 1.0], "end": [0.75, 2.0]},
        {"begin_time": [0.25, 1.0], "duration": [0.5, 1.0]},
        {"Start": ["0.25", "1.0"], "End": ["0.75", "2.0"]},
        {"offset_ms": [250, 1000], "duration_ms": [500, 1000]},
        {"start_time": [0.25, 1.0], "end_time": [0.75, 2.0], "num_frames": [None, None]},
    ],
)
def test_rows_of_a_recording_are_segments(tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    path = tmp_path / "p.parquet"
    embedded(path, 2, seconds(4), text=["a", "b"], **columns)
    items, bad = read(path)
    assert bad == []
    assert [(item.offset_samples, item.num_samples) for item in items] == [(4_000, 8_000), (16_000, 16_000)]
    (tmp_path / "a.wav").write_bytes(seconds(4))
    write(path, ["a.wav", "a.wav"], pa.string(), **columns)
    assert [(item.offset_samples, item.num_samples) for item in read(path)[0]] == [(4_000, 8_000), (16_000, 16_000)]


def test_samples_of_a_segment_count_at_the_rate_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    embedded(path, 1, seconds(4, 8_000), start_sample=[8_000], end_sample=[16_000])
    (item,), _ = read(path)
    assert (item.offset_samples, item.num_samples, item.native) == (8_000, 8_000, True)


@pytest.mark.parametrize(
    "columns",
    [
        {"begin_time": [0.0, 103.2], "end_time": [2.0, 105.2], "audio_duration": [2.0, 2.0]},
        {"duration": [2.0, 2.0]},
        {"duration_ms": [2000, 1990]},
        {"num_samples": [32_000, 32_000]},
        {"offset": [55.0, 57.0], "duration": [2.0, 2.0]},
    ],
)
def test_audio_cut_already_stays_whole_under_the_same_key(tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    path = tmp_path / "p.parquet"
    embedded(path, 2, seconds(2))
    plain, _ = read(path)
    embedded(path, 2, seconds(2), **columns)
    items, bad = read(path)
    assert bad == []
    assert [replace(item, size=0).key() for item in items] == [replace(item, size=0).key() for item in plain]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("channel_id", [0, 1]),
        ("sentence_text", ["a", "b"]),
        ("n_frames", [120, 90]),
        ("cc_license", [None, "CC0"]),
        ("timestamps", [[0.5, 1.5], [1.5, 2.0]]),
        ("time", [None, 3.5]),
        ("side_channel", pa.array(["left", "right"]).dictionary_encode()),
    ],
)
def test_a_column_that_is_not_understood_is_an_error(tmp_path: Path, column: str, values: list[Any]) -> None:
    path = tmp_path / "p.parquet"
    embedded(path, 2, seconds(2), **{column: values})
    with pytest.raises(UserError, match=rf"column '{column}' looks like .*`ignore_columns: \[{column}\]`"):
        read(path)
    items, bad = read(path, ignore_columns=[column])
    assert (len(items), bad) == (2, [])


def test_nan_is_a_missing_value(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    nan = float("nan")
    embedded(path, 1, seconds(1), text=[nan], speaker=[nan], language=[nan], id=[nan], split=[nan])
    (item,), _ = read(path, language="en")
    assert (item.text, item.speaker_id, item.language, item.split) == (None, None, "en", None)
    assert item.utterance_id == "d/p-0"


def test_a_text_column_in_another_spelling(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    embedded(path, 1, seconds(1), Transcript=["Hi."], raw_text=["hi"])
    assert [item.text for item in read(path)[0]] == ["Hi."]


def test_paths_start_from_the_files_folder_or_from_the_sources_or_from_the_one_that_the_config_names(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    for name in ("data/near.wav", "audio/far.wav", "audio/near.wav"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    path = root / "data" / "train.parquet"
    write(path, ["near.wav", "audio/far.wav", "absent.wav"], pa.string())
    names = [root / "data" / "near.wav", root / "audio" / "far.wav", root / "data" / "absent.wav"]
    assert [item.uri for item in read(root)[0]] == [str(name) for name in names]
    assert read(root, audio_dir=str(root / "audio"))[0][0].uri == str(root / "audio" / "near.wav")


def test_decoded_samples_are_an_error_that_tells_how_to_write_encoded_audio(tmp_path: Path) -> None:
    kind = pa.struct([("array", pa.list_(pa.float32())), ("sampling_rate", pa.int32())])
    write(tmp_path / "p.parquet", [{"array": [0.0], "sampling_rate": 16_000}], kind)
    with pytest.raises(UserError, match=r"holds decoded samples.*datasets\.Audio"):
        read(tmp_path / "p.parquet")
    kind = pa.struct([("path", pa.string()), *kind])
    rows = [{"path": "a.wav", "array": [0.0], "sampling_rate": 16_000}, {"path": None, "array": [0.0]}]
    write(tmp_path / "p.parquet", rows, kind)
    with pytest.raises(UserError, match="holds decoded samples"):
        read(tmp_path / "p.parquet")
    (tmp_path / "a.wav").write_bytes(b"x")
    items, bad = read(tmp_path / "p.parquet")
    assert ([item.uri for item in items], len(bad)) == ([str(tmp_path / "a.wav")], 1)
