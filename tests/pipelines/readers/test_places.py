import os
import re
from pathlib import Path

import fsspec
import pytest

from pipelines.errors import UserError
from pipelines.readers.places import AbsentFileError, Entry, Place


def test_listing_is_sorted_without_hidden_files_and_with_dangling_links(tmp_path: Path) -> None:
    for name in ("b.wav", "a/z.wav", "a/.hidden.wav", ".git/x.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"123")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert Place.of(str(tmp_path)).files() == [
        Entry("a/z.wav", 3),
        Entry("b.wav", 3),
        Entry("gone.wav", None, linked=True),
        Entry("pipe", 0, special=True),
    ]


def test_linked_folders_are_followed_but_loops_are_not(tmp_path: Path) -> None:
    (tmp_path / "data" / "one").mkdir(parents=True)
    (tmp_path / "data" / "one" / "a.wav").write_bytes(b"1")
    (tmp_path / "data" / "two").symlink_to(tmp_path / "data" / "one")
    (tmp_path / "data" / "one" / "loop").symlink_to(tmp_path / "data")
    names = [entry.name for entry in Place.of(str(tmp_path / "data")).files()]
    assert names == ["one/a.wav", "two/a.wav"]


def test_buckets_are_listed_like_folders() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/places/x/b.wav", b"12")
    memory.pipe("/places/x/a/c d.wav", b"1")
    place = Place.of("memory://places/x")
    assert [(entry.name, entry.size) for entry in place.files()] == [("a/c d.wav", 1), ("b.wav", 2)]
    uri = place.child("a/c d.wav").uri
    assert uri == "memory:///places/x/a/c d.wav"
    with Place.of(uri).open() as file:
        assert file.read() == b"1"


@pytest.mark.parametrize(
    ("base", "path", "uri"),
    [
        ("/data/set", "a/b.wav", "/data/set/a/b.wav"),
        ("/data/set", "../b.wav", "/data/b.wav"),
        ("/data/set", "/other/b.wav", "/other/b.wav"),
        ("/data/set", "memory://x/b.wav", "memory:///x/b.wav"),
        ("/data/set", "odd::name.wav", "/data/set/odd::name.wav"),
        ("file:///data/set", "b.wav", "/data/set/b.wav"),
        ("memory://set", "./a/b.wav", "memory:///set/a/b.wav"),
        ("memory://set", "/other/b.wav", "/other/b.wav"),
        ("http://h:80/set", "b.wav", "http://h:80/set/b.wav"),
        ("https://h/set/", "../b.wav", "https://h/b.wav"),
        ("https://h/set", "./a b.wav", "https://h/set/a%20b.wav"),
        ("https://h/set", "a%20b.wav", "https://h/set/a%20b.wav"),
        ("https://h/set", "a#1?.wav", "https://h/set/a%231%3F.wav"),
        ("https://h", "b.wav", "https://h/b.wav"),
        ("https://h/set", "https://g/b.wav?x=1", "https://g/b.wav?x=1"),
        ("HTTP://h/set", "b.wav", "http://h/set/b.wav"),
    ],
)
def test_paths_in_files_start_at_their_folder(base: str, path: str, uri: str) -> None:
    assert Place.of(base).join(path).uri == uri


@pytest.mark.parametrize("uri", ["/no/such/folder", "memory://no/such/folder", "nonsense://x/y"])
def test_a_folder_that_is_not_there_is_the_users_error(uri: str) -> None:
    with pytest.raises(UserError):
        Place.of(uri).files()


def test_what_may_never_end_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for uri in (str(tmp_path / "pipe"), str(tmp_path / "link"), (tmp_path / "pipe").as_uri(), "/dev/zero"):
        with pytest.raises(AbsentFileError, match="pipe, socket or device"), Place.of(uri).open():
            pass


def test_the_query_of_a_url_is_no_part_of_its_name() -> None:
    place = Place.of("https://h/set/m.csv?version=/2")
    assert (place.name, place.parent.uri) == ("m.csv", "https://h/set")
    assert place.uri == "https://h/set/m.csv?version=/2"


def test_links_in_a_circle_are_entries_that_cannot_be_reached(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"1")
    (tmp_path / "self.wav").symlink_to(tmp_path / "self.wav")
    (tmp_path / "one.wav").symlink_to(tmp_path / "two.wav")
    (tmp_path / "two.wav").symlink_to(tmp_path / "one.wav")
    (tmp_path / "below.wav").symlink_to(tmp_path / "a.wav" / "b.wav")
    (tmp_path / "long.wav").symlink_to("x" * 300)
    (tmp_path / "folder.wav").symlink_to(tmp_path / "folder.wav" / "..")
    entries = Place.of(str(tmp_path)).files()
    broken = ("below.wav", "folder.wav", "long.wav", "one.wav", "self.wav", "two.wav")
    assert entries == [Entry("a.wav", 1), *(Entry(name, None, linked=True) for name in broken)]


@pytest.mark.parametrize(
    "uri", ["dir://x::file:///etc", "nonsense://x/y", "hf://", "s3://Bad_Bucket!/a", "zip://a", "http://h:port/a"]
)
def test_an_odd_url_of_a_source_is_the_users_error(uri: str) -> None:
    with pytest.raises(UserError, match=re.escape(uri.partition(":")[0])):
        Place.of(uri).files()
