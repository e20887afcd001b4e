"""Builds from a bucket that fails at times: nothing is rejected for it, and the next build goes on."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import s3fs
from rich.console import Console

from pipelines.build.build import run_until
from pipelines.config.build import check_config
from pipelines.errors import kind_of
from storage.store import Store
from storage.tables import read_table
from tests.faulty_s3 import FaultyS3, serving
from tests.pipelines.conftest import Config, RunBuild
from unitlang.errors import Unreachable

pytestmark = pytest.mark.slow

KEY = "speech/clip007.wav"


@pytest.fixture
def bucket(s3_bucket: str, speech: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FaultyS3, str]]:
    """A failing server and the URL of a folder of speech there; clients lose patience soon."""
    with serving() as (server, url):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
        s3fs.S3FileSystem.clear_instance_cache()
        monkeypatch.setattr(s3fs.S3FileSystem, "retries", 2)
        name, prefix = s3_bucket.removeprefix("s3://").split("/")
        for path in speech.iterdir():
            boto3.client("s3").put_object(Bucket=name, Key=f"{prefix}/speech/{path.name}", Body=path.read_bytes())
        yield server, f"{s3_bucket}/speech"
        s3fs.S3FileSystem.clear_instance_cache()


def rejects(store: str) -> list[str]:
    opened = Store.open(store)
    paths = [path for path in opened.list("data") if path.startswith("data/rejects/")]
    return [row["reason"] for path in paths for row in read_table(opened, path).to_pylist()]


@pytest.mark.parametrize("answer", ["503 Slow Down", "500 Internal Server Error", "403 Forbidden"])
@pytest.mark.parametrize("step", ["ingest", "quantize"])
def test_a_build_stops_and_the_next_one_goes_on(
    bucket: tuple[FaultyS3, str], config: Config, run_build: RunBuild, answer: str, step: str
) -> None:
    server, url = bucket
    values = config | {"sources": [{"kind": "folder", "path": url, "dataset": "d"}]}
    if step == "quantize":
        run_until(check_config(values, "test", Path.cwd()), Console(quiet=True), "ingest")
    server.refuses = lambda path: answer if path.endswith(KEY) else None
    with pytest.raises(Unreachable, match=r"clip007\.wav") as caught:
        run_build(values)
    assert kind_of(caught.value) == "unavailable"
    assert rejects(values["store"]) == []
    server.refuses = lambda _path: None
    assert run_build(values).new
    assert rejects(values["store"]) == []


def test_a_server_that_fails_once_is_asked_again(
    bucket: tuple[FaultyS3, str], config: Config, run_build: RunBuild
) -> None:
    server, url = bucket
    values = config | {"sources": [{"kind": "folder", "path": url, "dataset": "d"}]}
    failed: set[str] = set()

    def refuses(path: str) -> str | None:
        if path in failed or not path.endswith(".wav"):
            return None
        failed.add(path)
        return "503 Slow Down"

    server.refuses = refuses
    assert run_build(values).new
    assert len(failed) == 12
    assert rejects(values["store"]) == []


def test_answers_that_break_off_are_no_fault_of_the_files(
    bucket: tuple[FaultyS3, str], config: Config, run_build: RunBuild
) -> None:
    server, url = bucket
    reads: Counter[str] = Counter()

    def breaks_the_next(path: str) -> None:
        reads[path] += path.endswith(".wav")
        server.cut = int(path.endswith(".wav") and reads[path] % 3 == 1)

    server.refuses = breaks_the_next
    values = config | {"sources": [{"kind": "folder", "path": url, "dataset": "d"}]}
    assert run_build(values).new
    assert len(reads) >= 12
    assert rejects(values["store"]) == []
