"""Buckets are listed in ranges of names."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import s3fs

from pipelines import buckets
from pipelines.buckets import list_objects
from pipelines.readers.places import Place

PAGE = 5
"""Objects of a page in these tests."""


class Bucket:
    """A prefix of a bucket, its file system, and the listings that were asked for."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = url.removeprefix("s3://")
        self.asked: list[dict[str, str]] = []
        self.fs = s3fs.S3FileSystem()
        page = buckets._page  # pyright: ignore[reportPrivateUsage]

        def counted(fs: Any, bucket: str, **what: str) -> dict[str, Any]:
            self.asked.append(what)
            return page(fs, bucket, MaxKeys=PAGE, **what)  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(buckets, "_page", counted)

    def put(self, *names: str) -> None:
        name, _, prefix = self.path.partition("/")
        client = boto3.client("s3")
        for number, file in enumerate(names):
            client.put_object(Bucket=name, Key=f"{prefix}/{file}", Body=b"x" * number)

    def listed(self) -> list[str]:
        start = len(self.path.partition("/")[2]) + 1
        return [found.key[start:] for found in list_objects(self.fs, self.path)]


@pytest.fixture
def bucket(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    s3fs.S3FileSystem.clear_instance_cache()
    yield Bucket(s3_bucket, monkeypatch)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    "names",
    [
        ["a.wav"],
        [f"{number}.wav" for number in range(17)],
        [f"{speaker}/{number}.wav" for speaker in "abc" for number in range(9)],
        [f"train/{speaker}/{number}.wav" for speaker in range(12) for number in range(3)],
        ["a", "a/", "a/b", "a-b", "a/b/c", "a.b", "A/b", "b", "b//c", "\xe9/x", "e/x", "\U0001f600/y", "z z/+%/&"],
        [f"train/x/y/z/{number}.wav" for number in range(12)] + ["first", "zero", "train/x/last", "train/x/y/0"],
    ],
)
def test_every_object_is_listed_once_and_in_order(bucket: Bucket, names: list[str]) -> None:
    bucket.put(*names)
    assert bucket.listed() == sorted(name for name in names if not name.endswith("/"))


def test_pages_are_few_although_folders_are_many(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is no request of its own: 40 folders of one file each are about as many pages as one with 40 files."""
    monkeypatch.setattr(buckets, "RANGES", 4)
    bucket.put(*(f"{number:02d}/x.wav" for number in range(40)))
    assert len(bucket.listed()) == 40
    assert len(bucket.asked) <= 40 / PAGE + 4 + 1


def test_a_small_folder_is_one_request(bucket: Bucket) -> None:
    bucket.put("a", "b", "c")
    assert len(bucket.listed()) == 3
    assert len(bucket.asked) == 1


def test_a_folder_that_only_begins_with_the_same_letters_is_another(bucket: Bucket) -> None:
    bucket.put("a/x.wav", "ab/y.wav", "a.wav")
    place = Place.of(f"s3://{bucket.path}/a")
    assert [(entry.name, entry.size) for entry in place.files()] == [("x.wav", 0)]


def test_a_listing_has_the_stamps_of_the_files(bucket: Bucket) -> None:
    bucket.put("a/x.wav", "a/b/y.wav", "a/.hidden/z.wav", "a/.z.wav")
    place = Place.of(f"s3://{bucket.path}/a")
    entries = place.files()
    assert [entry.name for entry in entries] == ["b/y.wav", "x.wav"]
    assert [(entry.size, entry.stamp) for entry in entries] == [place.child(e.name).file_facts() for e in entries]


@pytest.mark.parametrize(
    ("status", "body"), [(403, b"<Error><Code>AccessDenied</Code></Error>"), (200, b"<List"), (200, b"")]
)
def test_an_answer_that_is_no_listing_is_left_to_the_client(status: int, body: bytes) -> None:
    answer, told = {"status_code": status, "body": body}, dict[str, Any]()
    buckets.read_contents(answer, told)
    assert (answer["body"], told) == (body, {})


@pytest.mark.parametrize("space", ["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'])
@pytest.mark.parametrize(("encoded", "key"), [("<EncodingType>url</EncodingType>", "a b+ä"), ("", "a+b%2B%C3%A4")])
def test_a_listing_of_any_server_is_read(space: str, encoded: str, key: str) -> None:
    """With and without the name space of XML, with and without encoded names; an object may lack its ETag."""
    body = f"<R{space}><KeyCount>1</KeyCount>{encoded}<Contents><Key>a+b%2B%C3%A4</Key><Size>3</Size></Contents></R>"
    answer: dict[str, Any] = {"status_code": 200, "body": body.encode()}
    told: dict[str, Any] = {}
    buckets.read_contents(answer, told)
    assert told == {"Objects": [buckets.Object(key, 3, None)]}
    left: Any = answer["body"]
    assert b"Contents" not in left
    assert b"KeyCount" in left
