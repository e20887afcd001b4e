"""Passwords, tokens and signatures in URLs reach neither the store nor messages."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.build.commit import Built
from pipelines.config.build import check_config
from pipelines.errors import UserError

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


@pytest.mark.parametrize("url", URLS)
def test_a_config_with_a_secret_is_refused_without_repeating_it(
    config: dict[str, Any], tmp_path: Path, url: str
) -> None:
    source = {"kind": "folder", "path": url, "dataset": "urls"}
    for changed in ({"sources": [source]}, {"store": url}):
        with pytest.raises(UserError, match="holds a password, token or signature") as error:
            check_config({**config, **changed}, "build.yaml", tmp_path)
        assert SECRET not in str(error.value)
