"""Parquet files: the same rows make the same bytes, and columns are read alone."""

import subprocess
import sys
import threading
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from random import randbytes
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import CorruptStore, NotFound
from storage.ranges import RangeReader
from storage.schemas import SCHEMAS, table_of
from storage.store import Store
from storage.tables import (
    checked_name,
    num_row_groups,
    read_row_group,
    read_table,
    rows_to_parquet,
    table_to_parquet,
)


def units_row(number: int) -> dict[str, Any]:
    units = [(number * 7 + step) % 500 for step in range(number % 50)]
    return {
        "utterance_id": f"d/{number}",
        "dataset": "d",
        "units": units,
        "durations": [1 + unit % 4 for unit in units],
        "num_frames": sum(1 + unit % 4 for unit in units),
    }


def audio_row(number: int) -> dict[str, Any]:
    texts = {name: f"{name} {number}" for name in ("prompt", "transcript", "response")}
    return {
        "example_id": str(number),
        "dataset": "d",
        "split": None,
        "audio": bytes(900),
        "num_samples": 1,
        **texts,
    }


UTTERANCE: dict[str, Any] = {
    "utterance_id": "d/1",
    "dataset": "d",
    "task": "asr",
    "offset_samples": 0,
    "num_samples": 1,
    "source_key": bytes(16),
}


def test_bytes_do_not_depend_on_chunks_slices_or_metadata() -> None:
    rows = [units_row(number) for number in range(1000)]
    schema = SCHEMAS["units"]
    whole = pa.Table.from_pylist(rows, schema)
    chunked = pa.concat_tables([pa.Table.from_pylist(rows[start : start + 37], schema) for start in range(0, 1000, 37)])
    padded = pa.Table.from_pylist([units_row(5), *rows, units_row(7)], schema).slice(1, 1000)
    labelled = whole.replace_schema_metadata({"made": "today"})
    assert len({table_to_parquet(table) for table in (whole, whole, chunked, padded, labelled)}) == 1


def test_utterances_survive_with_all_their_nulls() -> None:
    row = dict.fromkeys(SCHEMAS["utterances"].names) | {
        "utterance_id": "d/1",
        "dataset": "d",
        "task": "sqa",
        "offset_samples": 0,
        "num_samples": 0,
        "source_key": bytes(16),
    }
    rows = [
        row,
        row | {"audio": {"uri": "/a.flac", "bytes": None}, "sample_rate": 8000, "text": "ü\n"},
        row | {"audio": {"uri": None, "bytes": b"\0fLaC"}, "turn": 1},
    ]
    data = rows_to_parquet("utterances", pa.Table.from_pylist(rows, SCHEMAS["utterances"]))
    table = pq.read_table(BytesIO(data))
    assert table.schema.equals(SCHEMAS["utterances"], check_metadata=True)
    assert table.to_pylist() == rows


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 65_535), max_size=30), max_size=20))
def test_units_survive(units: list[list[int]]) -> None:
    rows = [
        {"utterance_id": str(number), "dataset": "d", "units": row, "durations": row, "num_frames": sum(row)}
        for number, row in enumerate(units)
    ]
    data = rows_to_parquet("units", pa.Table.from_pylist(rows, SCHEMAS["units"]))
    assert pq.read_table(BytesIO(data)).to_pylist() == rows


def test_groups_of_audio_rows_are_small_and_strings_have_dictionaries() -> None:
    table = pa.Table.from_pylist([audio_row(number) for number in range(600)], SCHEMAS["s2t"])
    metadata = pq.ParquetFile(pa.BufferReader(rows_to_parquet("s2t", table))).metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [256, 256, 88]
    columns = {metadata.row_group(0).column(index).path_in_schema: index for index in range(metadata.num_columns)}
    assert metadata.row_group(0).column(columns["dataset"]).has_dictionary_page
    assert not metadata.row_group(0).column(columns["audio"]).has_dictionary_page
    assert metadata.row_group(0).column(columns["audio"]).compression == "ZSTD"


def test_columns_are_read_alone(store: Store) -> None:
    rows = [audio_row(number) for number in range(300)]
    store.put("x.parquet", rows_to_parquet("s2t", pa.Table.from_pylist(rows, SCHEMAS["s2t"])))
    table = read_table(store, "x.parquet", ["example_id", "num_samples"])
    assert table.to_pylist() == [{"example_id": row["example_id"], "num_samples": 1} for row in rows]
    assert read_table(store, "x.parquet").to_pylist() == rows


def test_a_field_of_a_struct_is_read_without_the_others_and_an_optional_column_where_it_is(
    store: Store, requests: "list[Read]"
) -> None:
    rows = [{**UTTERANCE, "audio": {"uri": str(number), "bytes": randbytes(900)}} for number in range(200)]
    store.put("plain.parquet", rows_to_parquet("utterances", table_of(rows, "utterances")))
    channels = [{**row, "channel": 1} for row in rows]
    store.put("channels.parquet", rows_to_parquet("utterances", table_of(channels, "utterances")))
    for path, more in (("plain.parquet", {}), ("channels.parquet", {"channel": 1})):
        table = read_table(store, path, ["audio.uri"], optional=["channel"])
        assert table.to_pylist() == [{"audio": {"uri": row["audio"]["uri"]}, **more} for row in rows]
    assert sum(size for size, _ in requests) < 2 * (2**16 + 10_000)
    with pytest.raises(CorruptStore, match="no column channel"):
        read_table(store, "plain.parquet", ["channel"])


Read = tuple[int, int]
"""Bytes of a request and the thread that made it."""


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Read]:
    """The requests for parts of stored files."""
    made: list[Read] = []
    readinto = RangeReader.readinto

    def counted(self: RangeReader, buffer: bytearray) -> int:
        made.append((readinto(self, buffer), threading.get_ident()))
        return made[-1][0]

    monkeypatch.setattr(RangeReader, "readinto", counted)
    return made


def test_neighbouring_columns_are_one_request_of_this_thread(store: Store, requests: list[Read]) -> None:
    rows = [audio_row(number) | {"audio": randbytes(900)} for number in range(600)]
    data = rows_to_parquet("s2t", pa.Table.from_pylist(rows, SCHEMAS["s2t"]))
    store.put("x.parquet", data)
    table = read_table(store, "x.parquet", ["prompt", "transcript", "response"])
    assert table.to_pylist() == [{name: row[name] for name in table.column_names} for row in rows]
    assert len(requests) == 1 + 2  # the end of the file with its last row group, then the two others
    assert sum(size for size, _ in requests) < 2**16 + 600 * 100
    assert {thread for _, thread in requests} == {threading.get_ident()}


READ_AND_COUNT = """
import sys
from pathlib import Path
from storage.tables import read_table

class Folder(type(Path())):
    uri = "folder"
    url = Path.joinpath
    def get(self, path):
        return (self / path).read_bytes()
    def reader(self, path):
        return (self / path).open("rb", buffering=0)

before = len(list(Path("/proc/self/task").iterdir()))
read_table(Folder(sys.argv[1]), "x.parquet", sys.argv[2:] or None)
print(len(list(Path("/proc/self/task").iterdir())) - before)
"""
"""In place of a store a folder, for obstore has threads of its own."""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted by /proc")
@pytest.mark.parametrize("columns", [[], ["utterance_id", "units"]])
def test_no_thread_of_arrow_can_outlive_the_interpreter(tmp_path: Path, columns: list[str]) -> None:
    """One that freed bytes of Python at the very end aborted about one process in 200."""
    table = pa.Table.from_pylist([units_row(number) for number in range(100)], SCHEMAS["units"])
    (tmp_path / "x.parquet").write_bytes(rows_to_parquet("units", table))
    command = [sys.executable, "-c", READ_AND_COUNT, tmp_path, *columns]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == "0\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_comes_out_of_a_read(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    store.put("x.parquet", rows_to_parquet("units", pa.Table.from_pylist([units_row(3)], SCHEMAS["units"])))

    def interrupted(*_: object) -> int:
        raise error

    monkeypatch.setattr(RangeReader, "readinto", interrupted)
    with pytest.raises(error):
        read_table(store, "x.parquet", ["units"])


def test_trouble_is_told(store: Store) -> None:
    data = rows_to_parquet("units", pa.Table.from_pylist([units_row(3)], SCHEMAS["units"]))
    store.put("torn.parquet", data[:-20])
    store.put("whole.parquet", data)
    with pytest.raises(CorruptStore, match=r"torn.parquet: not the Parquet file"):
        read_table(store, "torn.parquet")
    with pytest.raises(CorruptStore, match=r"torn.parquet: not the Parquet file"):
        read_table(store, "torn.parquet", ["units"])
    with pytest.raises(CorruptStore, match="no column nothing"):
        read_table(store, "whole.parquet", ["units", "nothing"])
    with pytest.raises(NotFound):
        read_table(store, "absent.parquet", ["units"])


def flipped(data: bytes, position: int) -> bytes:
    """The data with one bit changed."""
    changed = bytearray(data)
    changed[position] ^= 1 << position % 8
    return bytes(changed)


def some_audio_rows(name: str = "a") -> pa.Table:
    rows = [audio_row(number) | {"example_id": f"{name}{number}", "audio": randbytes(40)} for number in range(300)]
    return pa.Table.from_pylist(rows, SCHEMAS["s2t"])


@pytest.mark.parametrize("page_checksums", [True, False], ids=["now", "earlier"])
def test_no_flipped_bit_passes_unseen(tmp_path: Path, page_checksums: bool) -> None:
    """Neither in a whole read, nor in a read of columns, nor in one of a row group."""
    store, table = Store.open(tmp_path), some_audio_rows()
    data = rows_to_parquet("s2t", table, page_checksums=page_checksums)
    name = checked_name("data/f", data) if page_checksums else f"data/f-{sha256(data).hexdigest()[:8]}.parquet"
    columns = ["example_id", "audio"]
    seen = {"whole": 0, "columns": 0, "group": 0}
    positions = range(0, len(data), 37)
    for number, position in enumerate(positions):
        store = Store.open(tmp_path / str(number), create=True)  # a file is checked once in a process
        store.put(name, flipped(data, position))
        with pytest.raises(CorruptStore, match=rf"{name}: not the Parquet file .* echox repair {store.uri}"):
            read_table(store, name)
        seen["whole"] += 1
        for kind, expected in (("columns", table), ("group", table.slice(256))):
            try:
                found = (
                    read_table(store, name, columns) if kind == "columns" else read_row_group(store, name, 1, columns)
                )
                assert found == expected.select(columns)  # the bit is in another column, or in statistics of a page
            except CorruptStore as error:
                assert f"{name}: not the Parquet file that was written" in str(error)  # noqa: PT017 - or right rows
                seen[kind] += 1
    assert seen["columns"] > len(positions) / 2
    if not page_checksums:
        assert set(seen.values()) == {len(positions)}


@pytest.mark.parametrize("page_checksums", [True, False], ids=["now", "earlier"])
def test_whole_files_are_read_in_every_way(store: Store, page_checksums: bool) -> None:
    table = some_audio_rows()
    data = rows_to_parquet("s2t", table, page_checksums=page_checksums)
    name = checked_name("f", data) if page_checksums else f"f-{sha256(data).hexdigest()[:8]}.parquet"
    store.put(name, data)
    assert read_table(store, name) == table
    assert read_table(store, name, ["audio"]) == table.select(["audio"])
    assert read_row_group(store, name, 1, ["response"]) == table.slice(256).select(["response"])
    assert num_row_groups(store, name) == 2


def test_the_file_of_another_work_unit_under_the_name_is_seen(store: Store) -> None:
    """Its pages and its checksums are right, but it is not the file that was written."""
    mine, other = (rows_to_parquet("s2t", some_audio_rows(name)) for name in ("a", "b"))
    name = checked_name("f", mine)
    store.put(name, other)
    for read in (read_table, num_row_groups, lambda store, name: read_table(store, name, ["audio"])):
        with pytest.raises(CorruptStore, match=f"{name}: not the Parquet file that was written"):
            read(store, name)


@pytest.mark.parametrize("length", [0, 1, 4, 7, 8, 11, 12, 100])
def test_a_file_cut_to_a_few_bytes_is_seen(store: Store, length: int) -> None:
    data = rows_to_parquet("s2t", some_audio_rows())
    name = checked_name("f", data)
    store.put(name, data[:length])
    for read in (read_table, num_row_groups, lambda store, name: read_table(store, name, ["audio"])):
        with pytest.raises(CorruptStore, match=f"{name}: not the Parquet file that was written"):
            read(store, name)


def test_a_missing_file_is_named_with_the_remedy(store: Store) -> None:
    for columns in (None, ["units"]):
        with pytest.raises(NotFound, match=rf"absent.parquet does not exist; .* echox repair {store.uri}"):
            read_table(store, "absent.parquet", columns)
