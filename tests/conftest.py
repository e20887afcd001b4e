"""Fixtures for all tests."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

ROOT = Path(__file__).parents[1]
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells make background commands ignore Ctrl-C
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # as `pipelines.engine.session`, for tests that start Ray themselves


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real speech and units; the test is skipped if it is missing."""
    path = Path(os.environ.get("ECHOX_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real test data not found at {path}; set ECHOX_TEST_DATA to its folder")
    return path


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """URL of an S3 server in this process, empty at first."""
    from moto.server import ThreadedMotoServer  # 1.7 s that other tests need not pay

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty `s3://bucket/prefix`, with the `AWS_*` variables that lead there (child processes inherit them)."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    urlopen(Request(f"{s3_server}/corpora", method="PUT")).close()  # noqa: S310 - makes the bucket
    return f"s3://corpora/{uuid4().hex}"
