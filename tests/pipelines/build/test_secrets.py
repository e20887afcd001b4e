"""Passwords, tokens and signatures in URLs reach neither the store nor messages."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.build.commit import Built
from pipelines.config.build import check_config
from pipelines.errors import UserError
from pipelines.readers.base import read_source
from pipelines.readers.manifest import ManifestReader
from pipelines.readers.places import Place
from storage.errors import StorageError
from storage.store import Store
from unitlang.audio import http
from unitlang.audio.reading import stream
from unitlang.errors import UnitlangError, Unreachable

SECRET = "Tr0ub4dor"  # noqa: S105 - not a real one
URLS = (
    f"https://reader:{SECRET}@example.org/a.wav",
    f"https://{SECRET}@example.org/b.wav",
    f"https://example.org/c.wav?token={SECRET}",
    f"https://example.org/d.wav?X-Amz-Credential=x&X-Amz-Signature={SECRET}",
    f"https://example.org/e.wav?sv=2022&sig={SECRET}",
    f"https://example.org/f.wav?Expires=1&AWSAccessKeyId=x&Signature={SECRET}",
)


def texts(store: Path) -> str:
    """All bytes of the files of a store, and all values of its tables."""
    files = [path for path in store.rglob("*") if path.is_file()]
    tables = [str(pq.read_table(path).to_pylist()) for path in files if path.suffix == ".parquet"]
    return "".join([*(path.read_bytes().decode("latin-1") for path in files), *tables])


def test_a_store_of_urls_with_secrets_holds_none(
    config: dict[str, Any], speech: Path, tmp_path: Path, run_build: Callable[..., Built]
) -> None:
    manifest = tmp_path / "list.csv"
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([("audio", "text"), *((url, "hello") for url in URLS)])
    sources = [*config["sources"], {"kind": "manifest", "path": str(manifest), "dataset": "urls"}]
    built = run_build({**config, "sources": sources, "max_reject_ratio": 1.0})
    rejects = built.version.statistics["datasets"]["urls"]["rejects"]
    assert rejects == {"secret_in_url": len(URLS)}
    assert SECRET not in texts(Path(config["store"]))
    assert "secret_in_url" in texts(Path(config["store"]))


def test_ids_with_secrets_are_rejects_too(config: dict[str, Any], speech: Path, tmp_path: Path) -> None:
    clip = str(min(speech.glob("*.wav")))
    rows = [
        {"audio": clip, "id": URLS[2]},
        {"audio": clip, "id": "a", "speaker": URLS[0]},
        {"audio": clip, "id": "b", "speaker": "https://example.org/people/3"},
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reader = ManifestReader(path=str(tmp_path / "list.jsonl"), dataset="urls")
    found = list(read_source(reader, 0))
    assert [getattr(entry, "reason", None) for entry in found] == ["secret_in_url", "secret_in_url", None]
    assert SECRET not in repr(found)


def test_errors_of_servers_do_not_repeat_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PAUSES", (0.01,))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://reader:{SECRET}@127.0.0.1:9")
    monkeypatch.setattr("storage.s3.PROBE_RETRIES", 0)
    with pytest.raises(StorageError) as of_store:
        Store.open(f"s3://bucket/prefix?token={SECRET}")
    assert SECRET not in str(of_store.value)
    for url in (
        f"http://reader:{SECRET}@127.0.0.1:9/a.wav",
        f"http://127.0.0.1:9/a.wav?sig={SECRET}",
        f"nonsense://reader:{SECRET}@host/a.wav",
        f"http://reader:{SECRET}@[broken/a.wav",
        f"simplecache::https://{SECRET}@127.0.0.1:9/a.wav",
    ):
        for attempt in (lambda url=url: Place.of(url).files(), lambda url=url: list(stream(url))):
            with pytest.raises((UserError, UnitlangError, Unreachable)) as error:
                attempt()
            assert SECRET not in str(error.value)


@pytest.mark.parametrize("url", URLS)
def test_a_config_with_a_secret_is_refused_without_repeating_it(
    config: dict[str, Any], tmp_path: Path, url: str
) -> None:
    source = {"kind": "manifest", "path": url, "dataset": "urls"}
    columns = {"kind": "hf_parquet", "path": str(tmp_path), "dataset": "urls", "ignore_columns": ["x", url]}
    for changed in (
        {"sources": [source]},
        {"sources": [{**source, "path": str(tmp_path), "audio_dir": url}]},
        {"sources": [{**source, "path": str(tmp_path), "split": url}]},
        {"sources": [columns]},
        {"store": url},
        {"quantizer": {"centroids": url}},
        {"features": {"kind": "hubert", "checkpoint": url}},
    ):
        with pytest.raises(UserError, match="holds a password, token or signature") as error:
            check_config({**config, **changed}, "build.yaml", tmp_path)
        assert SECRET not in str(error.value)
