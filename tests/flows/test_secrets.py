"""No secret of a URL or of the environment is in anything that a build writes or the commands print."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.flaky import FlakyServer, serving
from tests.flows.conftest import Echox, write_clips

pytestmark = pytest.mark.slow

SECRET = "Tr0ub4dor"  # noqa: S105 - not a real one
FROM_ENVIRONMENT = "hf_wJalrXUtnFEMI"


def everything(store: Path) -> str:
    """Names, bytes and values of all files of a store."""
    files = [path for path in store.rglob("*") if path.is_file()]
    tables = [str(pq.read_table(path).to_pylist()) for path in files if path.suffix == ".parquet"]
    return "".join([*map(str, files), *(path.read_bytes().decode("latin-1") for path in files), *tables])


def sources(folder: Path, server: FlakyServer) -> list[dict[str, str]]:
    """Clips, and a manifest of URLs, most of them with secrets."""
    write_clips(folder / "clips", 6, seed=5)
    clip = (folder / "clips" / "0.wav").read_bytes()
    server.files = {"/good.wav": clip}
    host = server.url.removeprefix("http://")
    urls = [
        f"{server.url}/good.wav",
        f"{server.url}/absent.wav",
        f"http://reader:{SECRET}@{host}/good.wav",
        f"http://{host}/good.wav?X-Amz-Signature={SECRET}",
        f"http://{host}/absent.wav?token={SECRET}",
        f"nonsense://reader:{SECRET}@{host}/a.wav",
        f"s3://key:{SECRET}@bucket/a.wav",
        f"clips/0.wav?x://reader:{SECRET}@host",
    ]
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("audio", "text"), *((url, "hello") for url in urls)])
    return [
        {"kind": "folder", "dataset": "clips", "path": "clips"},
        {"kind": "manifest", "dataset": "urls", "path": "list.csv"},
    ]


def test_a_build_of_urls_with_secrets(echox: Echox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", FROM_ENVIRONMENT)
    with serving() as server:
        values = {
            "store": "corpus",
            "sources": sources(tmp_path, server),
            "quantizer": {"k": 10, "iterations": 5},
            "unit_language": {"vocab_size": 30},
            "max_reject_ratio": 0.1,
        }
        config, store = tmp_path / "build.yaml", tmp_path / "corpus"
        config.write_text(json.dumps(values))
        wrong = f"https://reader:{SECRET}@example.org/x?sig={SECRET}"
        done = [
            echox("build", config),
            echox("build", config, "--set", f"quantizer.centroids={wrong}"),
            echox("build", config, "--store", f"s3://key:{SECRET}@bucket/x"),
            echox("build", config, "--set", f"store=/proc/{FROM_ENVIRONMENT}"),
            echox("build", config, "--set", "max_reject_ratio=1"),
            *(echox(command, store) for command in ("inspect", "verify", "repair", "versions")),
            *(echox(command, wrong) for command in ("inspect", "verify", "repair", "versions", "approve")),
            echox("inspect", "--json", store),
            echox("encode", f"nonsense://{SECRET}@host/a.wav", "--store", store),
            echox("encode", f"{server.url}/good.wav?token={SECRET}", "--store", store),
        ]
    assert [run.returncode for run in done] == [2, 2, 2, 2, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 0, 2, 0]
    text = everything(store) + "".join(run.stdout + run.stderr for run in done)
    assert "secret_in_url" in text
    assert "Traceback" not in text
    assert SECRET not in text
    assert FROM_ENVIRONMENT not in text
