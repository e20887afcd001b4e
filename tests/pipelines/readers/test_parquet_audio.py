import os
from collections.abc import Generator
from contextlib import contextmanager
from errno import EACCES, EMFILE
from io import BytesIO
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipelines.readers import parquet_audio
from pipelines.readers.parquet_audio import fetch, is_parquet_uri, parquet_uri
from unitlang.errors import AudioError, Unreachable

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


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.parquet")
    with pytest.raises(AudioError) as caught:
        fetch(parquet_uri(str(tmp_path / "a.parquet"), 0, "audio"))
    assert caught.value.reason == "missing"


class RefusingPlace(MemoryFileSystem):  # pyright: ignore[reportUntypedBaseClass]
    """A store at `refusing://` that takes no token."""

    protocol = "refusing"

    def _open(self, path: str, *_: object, **__: object) -> BytesIO:
        raise PermissionError(EACCES, "the token has expired", path)


def test_what_fails_for_other_reasons_is_no_fault_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table(2), path)
    uri = parquet_uri(str(path), 1, "audio")
    fsspec.register_implementation("refusing", RefusingPlace, clobber=True)
    with pytest.raises(Unreachable, match="the token has expired"):
        fetch(parquet_uri("refusing://a.parquet", 0, "audio"))
    with no_more_files(), pytest.raises(OSError, match="open files") as caught:
        fetch(uri)
    assert caught.value.errno == EMFILE
    assert fetch(uri) == b"001" * 1000


def test_damaged_pages_are_a_fault_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table(2), path)
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes([255] * 60) + data[64:])
    with pytest.raises(AudioError) as caught:
        fetch(parquet_uri(str(path), 1, "audio"))
    assert caught.value.reason == "corrupt"


@contextmanager
def no_more_files() -> Generator[None]:
    """A process that may open no file beyond those that it has open."""
    limits = getrlimit(RLIMIT_NOFILE)
    setrlimit(RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        setrlimit(RLIMIT_NOFILE, limits)
