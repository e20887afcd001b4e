"""Parquet files: the same rows make the same bytes, and columns are read alone."""

from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import CorruptStore, NotFound
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table, rows_to_parquet, table_to_parquet


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
