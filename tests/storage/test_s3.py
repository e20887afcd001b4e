"""Buckets that fail: what is retried, what is exact, and what a person is told."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from storage.errors import AlreadyExists, StorageError, Unavailable
from storage.store import Store

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Faulty:
    """An S3 server that answers some requests with an error.

    Attributes:
        faults: (method, answer, whether the request is done before its answer is lost), used up one by one.
        cut: number of bodies of GETs that break off in the middle.
    """

    def __init__(self) -> None:
        self.application: Application = DomainDispatcherApplication(create_backend_app)
        self.faults: list[tuple[str, str, bool]] = []
        self.cut = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self.cut and environ["REQUEST_METHOD"] == "GET":
            self.cut -= 1
            return self.broken(environ, start_response)
        if not self.faults or self.faults[0][0] != environ["REQUEST_METHOD"]:
            return self.application(environ, start_response)
        _, answer, done = self.faults.pop(0)
        if done:
            list(self.application(environ, lambda *_: None))
        start_response(answer, [("Content-Type", "application/xml")])
        return [b"<Error><Code>Fault</Code></Error>"]

    def broken(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        """Half of the body, under the headers of the whole one; then the connection ends."""
        body = b"".join(self.application(environ, start_response))
        yield body[: len(body) // 2]
        raise ConnectionAbortedError


@pytest.fixture
def faulty(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    application = Faulty()
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield application
    server.shutdown()
    thread.join()


def test_busy_server_is_asked_again(faulty: Faulty, s3_bucket: str) -> None:
    store = Store.open(s3_bucket, create=True)
    faulty.faults = [("PUT", "503 Slow Down", False)] * 3
    store.put("x", b"1")
    faulty.faults = [("GET", "500 Internal Server Error", False), ("GET", "503 Slow Down", False)]
    assert store.get("x") == b"1"
    faulty.faults = [("GET", "503 Slow Down", False)]
    assert list(store.list()) == ["x"]
    assert faulty.faults == []


def test_create_whose_answer_was_lost_succeeds(faulty: Faulty, s3_bucket: str) -> None:
    store = Store.open(s3_bucket, create=True)
    faulty.faults = [("PUT", "503 Slow Down", True)]
    store.create("x", b"mine")
    assert store.get("x") == b"mine"
    faulty.faults = [("PUT", "503 Slow Down", False)]
    with pytest.raises(AlreadyExists):
        store.create("x", b"mine")


def test_an_answer_that_breaks_off_once_is_asked_for_again(faulty: Faulty, s3_bucket: str) -> None:
    store = Store.open(s3_bucket, create=True)
    paths = [f"x/{number}" for number in range(5)]
    data = bytes(range(256)) * 5_000
    for path in paths:
        store.put(path, data)
    faulty.cut = 1
    assert store.get(paths[0]) == data
    assert faulty.cut == 0
    faulty.cut = 1
    assert list(store.list("x")) == paths
    assert faulty.cut == 0
    reader = store.reader(paths[1])
    faulty.cut = 1
    reader.seek(1_000)
    assert reader.read(200_000) == data[1_000:201_000]
    assert faulty.cut == 0
    faulty.cut = 1
    assert Store.open(s3_bucket).get(paths[2]) == data
    assert faulty.cut == 0


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        ("403 Forbidden", "access denied"),
        ("301 Moved Permanently", "AWS_REGION"),
        ("400 Bad Request", "400 Bad Request"),
    ],
)
def test_refusals_are_explained(faulty: Faulty, s3_bucket: str, answer: str, remedy: str) -> None:
    faulty.faults = [("GET", answer, False)]
    with pytest.raises(StorageError, match=remedy):
        Store.open(s3_bucket)


def test_absent_bucket(s3_bucket: str) -> None:
    for create in (False, True):
        with pytest.raises(StorageError, match="s3://no-such-bucket/x: the bucket does not exist"):
            Store.open("s3://no-such-bucket/x", create=create)


def test_unreachable_server(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="cannot be reached; check AWS_ENDPOINT_URL"):
        Store.open(s3_bucket)


def test_no_credentials(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")  # an instance role would be asked for here
    with pytest.raises(StorageError, match="no credentials: set AWS_ACCESS_KEY_ID"):
        Store.open(s3_bucket)


def test_http_endpoint_needs_no_further_permission(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ALLOW_HTTP", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    Store.open(s3_bucket, create=True).put("x", b"1")
    assert Store.open(s3_bucket).get("x") == b"1"


def test_whole_bucket_as_a_store(s3_bucket: str) -> None:
    store = Store.open("s3://corpora", create=True)
    path = f"{s3_bucket.rpartition('/')[2]}/x"
    store.put(path, b"1")
    assert Store.open(s3_bucket).get("x") == b"1"
    assert store.url(path) == f"s3://corpora/{path}"
