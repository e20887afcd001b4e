"""URIs as people type them, and the stores that they name."""

import os
from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.uris import Bucket, parse_uri, split_version


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("/data/corpus/", Path("/data/corpus")),
        ("/data/../x", Path("/x")),
        ("/data/a b@c#1%20", Path("/data/a b@c#1%20")),
        ("corpus", Path.cwd() / "corpus"),
        ("file:///data/a%20b", Path("/data/a b")),
        ("FILE://localhost/data", Path("/data")),
        ("file:///data/what?#1", Path("/data/what?#1")),
        ("s3://bucket", Bucket("bucket", "")),
        ("s3://bucket/", Bucket("bucket", "")),
        ("S3://my.old_Bucket/a/b c/", Bucket("my.old_Bucket", "a/b c")),
    ],
)
def test_uri_names_a_place(uri: str, place: Path | Bucket) -> None:
    assert parse_uri(uri) == place


def test_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert parse_uri("~/corpus") == Path("/home/someone/corpus")


@pytest.mark.parametrize("place", [Bucket("bucket", ""), Bucket("bucket", "a/b")])
def test_bucket_uri_round_trips(place: Bucket) -> None:
    assert parse_uri(place.uri) == place


@pytest.mark.parametrize(
    "uri",
    [
        "",
        " ",
        "a\0b",
        "s3:bucket/x",
        "s3:/bucket/x",
        "file:/data",
        "file://host/data",
        "file://relative",
        "s3://",
        "s3:///prefix",
        "s3://B K/x",
        "s3://ab",
        "s3://bucket//x",
        "s3://bucket/../x",
        "gs://bucket/x",
        "https://bucket/x",
    ],
)
def test_malformed_uri_is_refused(uri: str) -> None:
    with pytest.raises(StorageError):
        parse_uri(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:Tr0ub4dor@bucket/x",
        "s3:/key:Tr0ub4dor@bucket/x",
        "s3:key:Tr0ub4dor@bucket/x",
        "s3://key:a/Tr0ub4dor@bucket/x",
        "https://Tr0ub4dor@host/x",
        "https://host/x?X-Amz-Signature=Tr0ub4dor",
        "gs://bucket/x?a=1&token=Tr0ub4dor",
        "file://reader:Tr0ub4dor@host/x",
        "s3://b/x?token=Tr0ub4dor",
    ],
)
def test_a_malformed_uri_is_told_without_its_secret(uri: str) -> None:
    with pytest.raises(StorageError, match=r"\*\*\*") as error:
        parse_uri(uri)
    assert "Tr0ub4dor" not in str(error.value)


def test_what_is_no_secret_is_told() -> None:
    assert str(StorageError("no store at s3://bucket/me@3: /data/a@b?c")) == "no store at s3://bucket/me@3: /data/a@b?c"


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("corpus", ("corpus", None)),
        ("corpus@3", ("corpus", 3)),
        ("me@host/corpus", ("me@host/corpus", None)),
        ("me@7/corpus", ("me@7/corpus", None)),
        ("corpus@2@10", ("corpus@2", 10)),
        ("corpus@2/", ("corpus@2/", None)),
        ("corpus@latest", ("corpus@latest", None)),
        ("s3://bucket/x@0012", ("s3://bucket/x", 12)),
        ("@3", ("@3", None)),
    ],
)
def test_only_trailing_digits_are_a_version(uri: str, parts: tuple[str, int | None]) -> None:
    assert split_version(uri) == parts


def test_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_uri(f"x{os.sep}y") == tmp_path / "x" / "y"
