"""Buckets that fail: what is retried, what is exact, and what a person is told."""

from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest

from storage.errors import AlreadyExists, StorageError, Unavailable
from storage.store import Store
from tests.cluster.proxy import flaky_proxy
from tests.faulty_s3 import FaultyS3, serving


@pytest.fixture
def faulty(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    with serving() as (application, url):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield application


def test_busy_server_is_asked_again(faulty: FaultyS3, s3_bucket: str) -> None:
    store = Store.open(s3_bucket, create=True)
    faulty.faults = [("PUT", "503 Slow Down", False)] * 3
    store.put("x", b"1")
    faulty.faults = [("GET", "500 Internal Server Error", False), ("GET", "503 Slow Down", False)]
    assert store.get("x") == b"1"
    faulty.faults = [("GET", "503 Slow Down", False)]
    assert list(store.list()) == ["x"]
    assert faulty.faults == []


def test_create_whose_answer_was_lost_succeeds(faulty: FaultyS3, s3_bucket: str) -> None:
    store = Store.open(s3_bucket, create=True)
    faulty.faults = [("PUT", "503 Slow Down", True)]
    store.create("x", b"mine")
    assert store.get("x") == b"mine"
    faulty.faults = [("PUT", "503 Slow Down", False)]
    with pytest.raises(AlreadyExists):
        store.create("x", b"mine")


def test_an_answer_that_breaks_off_once_is_asked_for_again(faulty: FaultyS3, s3_bucket: str) -> None:
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
def test_refusals_are_explained(faulty: FaultyS3, s3_bucket: str, answer: str, remedy: str) -> None:
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


@pytest.mark.usefixtures("s3_bucket")
def test_whole_bucket_as_a_store(s3_server: str) -> None:
    urlopen(Request(f"{s3_server}/whole", method="PUT")).close()  # noqa: S310 - makes the bucket
    store = Store.open("s3://whole", create=True)
    store.put("folder/x", b"1")
    assert Store.open("s3://whole/folder").get("x") == b"1"
    assert store.url("folder/x") == "s3://whole/folder/x"


def test_requests_whose_connections_are_reset_are_made_again(
    s3_server: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the resets come before the server hears of the request, half after it did what it asks."""
    monkeypatch.setattr("storage.s3.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("storage.s3.TRIES", 12)
    with flaky_proxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        store = Store.open(s3_bucket, create=True)
        proxy.reset = 0.4
        for number in range(8):
            store.create(f"a/{number}", b"1")
        for number in range(8):
            with pytest.raises(AlreadyExists):
                store.create(f"a/{number}", b"other")
        for number in range(4):
            store.delete(f"a/{number}")
        proxy.reset = 0.0
        assert proxy.resets > 5
        assert sorted(store.list()) == [f"a/{number}" for number in range(4, 8)]
        assert {store.get(f"a/{number}") for number in range(4, 8)} == {b"1"}
