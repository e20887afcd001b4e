from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.readers import parquet_audio
from pipelines.readers.parquet_audio import fetch, is_parquet_uri, parquet_uri
from unitlang.errors import AudioError

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table(num_rows: int) -> pa.Table:
    audio = [{"bytes": b"%03d" % row * 1000, "path": None} for row in range(num_rows)]
    return pa.table({"audio": pa.array(audio, AUDIO), "text": ["x"] * num_rows})


def test_uris_survive_odd_names() -> None:
    uri = parquet_uri("/data/50% #1?/a b.parquet", 7, "my&column#")
    assert is_parquet_uri(uri)
    assert not is_parquet_uri("/data/50% #1?/a b.parquet")
    assert not is_parquet_uri("s3://bucket/a.wav")
    assert uri.count("#") == 1


@pytest.mark.parametrize("limit", [256 << 20, 9_000, 1])
def test_any_order_and_any_size_of_row_groups(tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_audio, "MAX_CACHED_BYTES", limit)
    path = tmp_path / "50% #1.parquet"
    pq.write_table(table(50), path, row_group_size=20, use_dictionary=False, compression="none")
    for row in (0, 1, 2, 19, 20, 49, 48, 0, 45, 21, 21):
        assert fetch(parquet_uri(str(path), row, "audio")) == b"%03d" % row * 1000


def test_buckets() -> None:
    with fsspec.open("memory://parquet/a.parquet", "wb") as file:
        pq.write_table(table(3), file)
    assert fetch(parquet_uri("memory://parquet/a.parquet", 2, "audio")) == b"002" * 1000


def test_a_replaced_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    uri = parquet_uri(str(path), 0, "audio")
    for content in (b"first", b"second"):
        pq.write_table(pa.table({"audio": [content]}), path)
        assert fetch(uri) == content


def test_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"audio": pa.array([None, b"x"], pa.binary()), "text": ["x", "y"]}), path)
    (tmp_path / "b.parquet").write_bytes(b"nonsense" * 10)
    cases = [
        (parquet_uri(str(path), 0, "audio"), "missing"),
        (parquet_uri(str(path), 2, "audio"), "missing"),
        (parquet_uri(str(path), 0, "speech"), "missing"),
        (parquet_uri(str(path), 0, "text"), "missing"),
        (parquet_uri(str(tmp_path / "absent.parquet"), 0, "audio"), "missing"),
        (parquet_uri(str(tmp_path / "b.parquet"), 0, "audio"), "corrupt"),
        ("/some/file.wav", "missing"),
    ]
    for uri, reason in cases:
        with pytest.raises(AudioError) as caught:
            fetch(uri)
        assert (caught.value.reason, caught.value.source) == (reason, uri)
