"""A corpus follows sources in buckets by what their listings say: sizes and ETags."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from pipelines.build.commit import Built
from pipelines.build.verify import verify
from pipelines.entries.entries import same_file, signature
from pipelines.readers import READERS, Item, base, lines
from pipelines.readers.places import Place
from pipelines.sources import audio_files, texts
from storage.store import Store
from tests.pipelines.build.test_following import counts, rows
from tests.speech import write_speech

pytestmark = pytest.mark.slow

Config = dict[str, Any]
RunBuild = Callable[..., Built]


class Reads:
    """Counts the files that are read for their SHA-256."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files = 0
        checksum = audio_files.checksum

        def counted(source: Any) -> str:
            self.files += 1
            return checksum(source)

        monkeypatch.setattr(audio_files, "checksum", counted)

    def since(self) -> int:
        """Files since the last call."""
        files, self.files = self.files, 0
        return files


class Bucket:
    """A source of 12 clips in a bucket."""

    def __init__(self, url: str, speech: Path) -> None:
        self.url = f"{url}/clips"
        self.client = boto3.client("s3")
        self.name, _, self.prefix = self.url.removeprefix("s3://").partition("/")
        for path in sorted(speech.iterdir()):
            self.put(path.name, path.read_bytes())

    def put(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=f"{self.prefix}/{name}", Body=data)

    def remove(self, name: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=f"{self.prefix}/{name}")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def bucket(config: Config, s3_bucket: str, speech: Path) -> Iterator[Bucket]:
    s3fs.S3FileSystem.clear_instance_cache()
    made = Bucket(s3_bucket, speech)
    config["sources"][0]["path"] = made.url
    yield made
    s3fs.S3FileSystem.clear_instance_cache()


def listings(store: str) -> dict[str, Any]:
    opened = Store.open(store)
    return {path: json.loads(opened.get(path)) for path in opened.list("data/listings")}


def test_a_file_of_the_same_size_with_other_bytes_is_noticed(
    config: Config, bucket: Bucket, speech: Path, run_build: RunBuild, reads: Reads, tmp_path: Path
) -> None:
    """Only the file with another ETag is read for it."""
    first = run_build(config).version
    reads.since()
    assert not run_build(config).new
    assert reads.since() == 0
    write_speech(tmp_path / "other", 1, start=7)  # of the same length
    other = (tmp_path / "other" / "clip007.wav").read_bytes()
    assert len(other) == len((speech / "clip000.wav").read_bytes())
    bucket.put("clip000.wav", other)
    built = run_build(config)
    assert (built.version.number, counts(built)) == (2, {"changed": 1, "kept": 11})
    assert built.version.artifacts == first.artifacts
    reads.since()
    assert not run_build(config).new
    assert reads.since() == 0


def test_a_file_that_is_written_again_with_the_same_bytes_is_not_read(
    config: Config, bucket: Bucket, speech: Path, run_build: RunBuild, reads: Reads
) -> None:
    """Its ETag stays."""
    run_build(config)
    bucket.put("clip000.wav", (speech / "clip000.wav").read_bytes())
    reads.since()
    assert not run_build(config).new
    assert reads.since() == 0


def test_a_store_of_an_older_program_learns_the_stamps_without_reading_a_file(
    config: Config, bucket: Bucket, run_build: RunBuild, reads: Reads, tmp_path: Path
) -> None:
    """Its signatures have sizes alone, which must do once; from then on, other bytes of the same size are noticed."""
    run_build(config)
    store = Store.open(config["store"])
    learnt = listings(config["store"])
    for path, values in learnt.items():
        sizes = [[size, None] for size, _ in values["signatures"]]
        store.put(path, json.dumps({**values, "signatures": sizes}).encode())
    reads.since()
    assert not run_build(config).new
    assert reads.since() == 0
    assert listings(config["store"]) == learnt
    write_speech(tmp_path / "other", 1, start=7)
    bucket.put("clip000.wav", (tmp_path / "other" / "clip007.wav").read_bytes())
    assert counts(run_build(config)) == {"changed": 1, "kept": 11}


def test_another_size_is_noticed_by_a_store_of_an_older_program(
    config: Config, bucket: Bucket, speech: Path, run_build: RunBuild
) -> None:
    run_build(config)
    store = Store.open(config["store"])
    for path, values in listings(config["store"]).items():
        sizes = [[size, None] for size, _ in values["signatures"]]
        store.put(path, json.dumps({**values, "signatures": sizes}).encode())
    bucket.put("clip000.wav", (speech / "clip006.wav").read_bytes())
    assert counts(run_build(config)) == {"changed": 1, "kept": 11}


class TextReads:
    """Counts the texts that are read: with the listing, for a comparison, and by the workers of `ingest`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[str] = []
        for module, name in ((base, "read_text"), (texts, "fetch_text")):
            read = getattr(module, name)

            def counted(place: Place, read: Callable[[Place], str] = read, of: str = module.__name__) -> str:
                self.files.append(f"{of.rpartition('.')[2]} {place.name}")
                return read(place)

            monkeypatch.setattr(module, name, counted)

    def since(self) -> list[str]:
        """Files since the last call."""
        files, self.files = self.files, []
        return sorted(files)


@pytest.fixture
def text_reads(monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> TextReads:
    for number in range(10):
        bucket.put(f"clip{number:03d}.txt", f"clip number {number}".encode())
    bucket.put("clip010.txt", b"latin \xe9")
    bucket.remove("clip011.txt")
    return TextReads(monkeypatch)


def told(built: Built) -> dict[str, str | None]:
    """Text of each clip, by its number."""
    return {name[-7:-4]: row["text"] for name, row in rows(built.version, "utterances").items()}


TEXTS = {f"{number:03d}": f"clip number {number}" for number in range(10)} | {"011": None}
BROKEN = {"clips/clip010.wav": "bad_text"}


def reasons(built: Built) -> dict[str, str]:
    return {name: row["reason"] for name, row in rows(built.version, "rejects").items()}


def test_texts_in_a_bucket_are_read_by_workers_and_only_if_their_listing_changed(
    config: Config, bucket: Bucket, text_reads: TextReads, run_build: RunBuild
) -> None:
    config["max_reject_ratio"] = 1.0
    first = run_build(config)
    assert (told(first), reasons(first)) == (TEXTS, BROKEN)
    assert text_reads.since() == [f"texts clip{number:03d}.txt" for number in range(11)]
    (reject,) = rows(first.version, "rejects").values()
    assert reject["source"] == "clip010.txt"
    assert not run_build(config).new
    assert text_reads.since() == []
    bucket.put("clip003.txt", b"clip number X")  # of the same length
    second = run_build(config)
    assert (counts(second), told(second)) == (
        {"mended": 1, "kept": 11, "rejected": 1},
        TEXTS | {"003": "clip number X"},
    )
    assert text_reads.since() == ["texts clip003.txt"]
    assert list(verify(Store.open(config["store"]), second.version)) == []


@pytest.mark.parametrize(
    ("change", "counted", "text"),
    [
        (lambda bucket: bucket.put("clip010.txt", "latin \xe9".encode()), "healed", {"010": "latin \xe9"}),
        (lambda bucket: bucket.put("clip011.txt", b"new"), "mended", {"011": "new"}),
        (lambda bucket: bucket.put("clip000.txt", b""), "mended", {"000": None}),
        (lambda bucket: bucket.remove("clip000.txt"), "mended", {"000": None}),
        (lambda bucket: bucket.put("clip000.normalized.txt", b"b"), "kept", {}),  # `.txt` is the better one
        (lambda bucket: bucket.put("clip011.original.txt", b"c"), "mended", {"011": "c"}),
        (lambda bucket: bucket.put("clip003.txt", b"clip number 3"), "kept", {}),
    ],
)
def test_changes_of_texts_in_a_bucket(
    config: Config,
    bucket: Bucket,
    text_reads: TextReads,
    run_build: RunBuild,
    change: Callable[[Bucket], None],
    counted: str,
    text: dict[str, str | None],
) -> None:
    config["max_reject_ratio"] = 1.0
    run_build(config)
    change(bucket)
    text_reads.since()
    built = run_build(config)
    assert built.new is (counted != "kept")
    assert told(built) == TEXTS | text
    assert counts(built).get(counted) == (12 if counted == "kept" else 1)
    assert len(text_reads.since()) <= 2


def test_a_text_that_is_gone_when_its_worker_reads_it_is_a_reject(
    config: Config, bucket: Bucket, text_reads: TextReads, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    config["max_reject_ratio"] = 1.0
    read = texts.fetch_text

    def late(place: Place) -> str:
        bucket.remove("clip005.txt")
        return read(place)

    monkeypatch.setattr(texts, "fetch_text", late)
    assert reasons(run_build(config)) == BROKEN | {"clips/clip005.wav": "bad_text"}
    monkeypatch.setattr(texts, "fetch_text", read)
    healed = run_build(config)
    assert (counts(healed)["healed"], told(healed)) == (1, TEXTS | {"005": None})


def test_a_text_that_is_too_long_is_not_read(
    config: Config, bucket: Bucket, text_reads: TextReads, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    config["max_reject_ratio"] = 1.0
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 20)
    bucket.put("clip004.txt", b"more than twenty bytes")
    assert reasons(run_build(config)) == BROKEN | {"clips/clip004.wav": "bad_text"}
    assert "texts clip004.txt" not in text_reads.since()


def test_a_store_that_holds_the_texts_themselves_stays_up_to_date(
    config: Config, bucket: Bucket, text_reads: TextReads, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older programs read the texts with the listing."""
    config["max_reject_ratio"] = 1.0
    beside = base.Reader.text_beside
    with monkeypatch.context() as older:
        older.setattr(base.Reader, "text_beside", lambda *arguments, read=False: beside(*arguments, read=True))
        first = run_build(config)
    assert (told(first), reasons(first)) == (TEXTS, BROKEN)
    text_reads.since()
    assert not run_build(config).new
    assert text_reads.since() == [f"texts clip{number:03d}.txt" for number in range(11)], "side by side, to compare"
    bucket.put("clip003.txt", b"clip number X")
    second = run_build(config)
    assert counts(second) == {"mended": 1, "kept": 11, "rejected": 1}
    assert told(second) == TEXTS | {"003": "clip number X"}
    assert list(verify(Store.open(config["store"]), second.version)) == []


def test_rows_of_a_parquet_file_in_a_bucket_have_its_stamp(bucket: Bucket, tmp_path: Path) -> None:
    stamps: list[set[Any]] = []
    for audio in (b"one", b"two"):
        pq.write_table(pa.table({"audio": [audio, audio]}), tmp_path / "a.parquet")
        bucket.put("parquet/a.parquet", (tmp_path / "a.parquet").read_bytes())
        items = list(READERS["hf_parquet"](path=f"{bucket.url}/parquet", dataset="d").read())
        stamps.append({signature(item) for item in items})
    assert [len(of_file) for of_file in stamps] == [1, 1]
    assert stamps[0] != stamps[1]


def test_what_the_listing_knows_of_a_file_is_no_part_of_its_identity() -> None:
    item = Item(utterance_id="d/a", dataset="d", uri="s3://b/a.wav", size=3)
    assert Item(**{**item.stated(), "stamp": "x"}).key() == item.key()


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ((3, None), (3, "etag"), True),
        ((3, None), (4, "etag"), False),
        ((3, "a"), (3, "b"), False),
        ((3, "a"), (3, "a"), True),
        ((3, "a"), (3, None), False),
        ((None, None), (3, 17), False),
        ((3, 17), (3, 18), False),
        (None, None, True),
        (None, (3, "etag"), False),
    ],
)
def test_signatures_that_tell_no_change(before: Any, now: Any, *, same: bool) -> None:
    assert same_file(before, now) is same


def test_files_of_file_systems_without_etags_have_the_time_of_writing() -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/stamps/a.wav", b"one")
    (before,) = Place.of("memory://stamps").files()
    files.pipe("/stamps/a.wav", b"two")
    (after,) = Place.of("memory://stamps").files()
    assert before.stamp != after.stamp
    assert before.stamp is not None


def test_files_of_a_disk_have_no_stamp(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"one")
    (entry,) = Place.of(str(tmp_path)).files()
    assert (entry.size, entry.stamp, Place.of(str(tmp_path / "a.wav")).file_facts()) == (3, None, (3, None))
