"""Files of a store, alike on a disk and on S3."""

import pickle
from pathlib import Path

import pytest

from storage.errors import AlreadyExists, NotFound, StorageError
from storage.store import Store


def test_put_get_size_exists_delete(store: Store) -> None:
    assert not store.exists("a/b.bin")
    store.put("a/b.bin", b"one")
    store.put("a/b.bin", b"three")
    assert store.get("a/b.bin") == b"three"
    assert store.size("a/b.bin") == 5
    assert store.exists("a/b.bin")
    assert not store.exists("a")
    store.delete("a/b.bin")
    store.delete("a/b.bin")
    assert not store.exists("a/b.bin")


def test_absent_file_is_not_found(store: Store) -> None:
    for path in ("nothing", "no/where"):
        assert not store.exists(path)
        with pytest.raises(NotFound, match=path):
            store.get(path)


def test_create_is_for_the_first(store: Store) -> None:
    store.create("x/1", b"first")
    with pytest.raises(AlreadyExists):
        store.create("x/1", b"second")
    assert store.get("x/1") == b"first"
    assert list(store.list()) == ["x/1"]


def test_list_is_by_folder(store: Store) -> None:
    for path in ("a/1", "a/b/2", "ab/3", "4"):
        store.put(path, b"")
    assert sorted(store.list("a")) == ["a/1", "a/b/2"]
    assert sorted(store.list()) == ["4", "a/1", "a/b/2", "ab/3"]
    assert list(store.list("none")) == []


def test_list_goes_on_over_many_pages(store: Store) -> None:
    for number in range(120):
        store.put(f"many/{number}", b"")
    assert len(set(store.list("many"))) == 120


def test_large_file_and_its_parts(store: Store) -> None:
    data = bytes(range(256)) * 50_000
    store.put("large", data)
    assert store.get("large") == data
    reader = store.reader("large")
    reader.seek(256_000)
    assert bytes(reader.read(300)) == data[256_000:256_300]


def test_pickled_store_opens_the_same_place(store: Store) -> None:
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301 - while it is still empty
    store.put("x", b"1")
    assert copy.uri == store.uri
    assert copy.get("x") == b"1"


def test_open_by_its_own_uri(store: Store) -> None:
    store.put("x", b"1")
    again = Store.open(store.uri)
    assert again.uri == store.uri
    assert again.get("x") == b"1"


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/./b", "a/..", "a b", "a#1", "é"])
def test_unusable_names_are_refused(store: Store, path: str) -> None:
    with pytest.raises(ValueError, match="unusable"):
        store.put(path, b"")


def test_reader_of_an_absent_store_creates_nothing(store_uri: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no store at .*echox build"):
        Store.open(store_uri)
    assert list(tmp_path.iterdir()) == []


def test_strange_folder_names_and_prefixes(store_uri: str) -> None:
    store = Store.open(f"{store_uri}/ä b%20#1?/x@3", create=True)
    store.put("a/b", b"1")
    store.create("a/c", b"2")
    again = Store.open(store.uri)
    assert {path: again.get(path) for path in again.list()} == {"a/b": b"1", "a/c": b"2"}
