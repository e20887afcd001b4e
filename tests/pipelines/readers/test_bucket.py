"""The readers on S3, as a client sees it: a server on this machine."""

import io
from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from pipelines.readers import READERS, Item
from pipelines.readers.parquet_audio import fetch
from pipelines.sources.texts import with_text

SAMPLE = Path(__file__).parents[3] / "examples" / "sample"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a bucket that holds the sample and a Parquet file."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="speech")
    for path in sorted(SAMPLE.rglob("*.*")):
        client.put_object(Bucket="speech", Key=path.relative_to(SAMPLE).as_posix(), Body=path.read_bytes())
    client.put_object(Bucket="speech", Key="read/", Body=b"")  # what consoles make for a folder
    parquet = io.BytesIO()
    pq.write_table(pa.table({"audio": [b"one", b"two"]}), parquet)
    client.put_object(Bucket="speech", Key="parquet/a.parquet", Body=parquet.getvalue())
    yield "s3://speech"
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_bucket_reads_like_a_folder(bucket: str) -> None:
    for kind, path in (("folder", "read"), ("folder", "tts"), ("conversation", "dialogues/dialogues.json")):
        here = list(READERS[kind](path=str(SAMPLE / path), dataset="d").read())
        there = list(READERS[kind](path=f"{bucket}/{path}", dataset="d").read())
        assert len(here) == len(there)
        for local, remote in zip(here, there, strict=True):
            assert isinstance(local, Item)
            assert isinstance(remote, Item)
            told = with_text(remote)
            assert isinstance(told, Item)
            assert (local.utterance_id, local.text) == (told.utterance_id, told.text)
            assert (remote.text is None) == (remote.text_file is not None)
            assert (local.uri or "").replace(str(SAMPLE), bucket) == (remote.uri or "")
    items = [
        item for item in READERS["hf_parquet"](path=f"{bucket}/parquet", dataset="d").read() if isinstance(item, Item)
    ]
    assert [fetch(item.uri or "") for item in items] == [b"one", b"two"]
