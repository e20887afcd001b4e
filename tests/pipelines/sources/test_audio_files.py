"""Utterances and their audio: segments of one file share a pass, everything else is read alone."""

from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]
import pytest
import soundfile

from pipelines.errors import UserError
from pipelines.readers.parquet_audio import parquet_uri
from pipelines.sources.audio_files import audio_source, checksum, row_streams
from pipelines.steps.quantize import quantize_rows
from unitlang.audio.reading import load
from unitlang.errors import AudioError
from unitlang.features import MfccConfig
from unitlang.quantizer.quantizer import Quantizer
from unitlang.units import Runs, to_frames

Row = Any
"""A `SpokenRow` of the columns that count here."""
NOISE = np.random.default_rng(0).normal(0, 0.1, 160_000).astype(np.float32)


def encode(kind: str, samples: np.ndarray = NOISE) -> bytes:
    file = BytesIO()
    soundfile.write(file, samples, 16_000, format=kind)
    return file.getvalue()


MP3 = encode("MP3")


def row(number: int, offset: int, samples: int, uri: str | None, data: bytes | None = None) -> Row:
    return {
        "utterance_id": f"utterance{number}",
        "dataset": "noise",
        "source_key": bytes(16),
        "checksum": sha256(MP3).hexdigest(),
        "audio": {"uri": uri, "bytes": data},
        "offset_samples": offset,
        "num_samples": samples,
    }


def part(row: Row) -> np.ndarray:
    source = row["audio"]["bytes"] or audio_source(row["audio"]["uri"])
    return load(source, offset_samples=row["offset_samples"], num_samples=row["num_samples"])


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Segments of two long files, then embedded audio, audio in Parquet, and a file of its own."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.mp3").write_bytes(MP3)
    table = pa.table({"sound": [MP3, MP3]})  # pyright: ignore[reportUnknownMemberType]
    pq.write_table(table, tmp_path / "rows.parquet")  # pyright: ignore[reportUnknownMemberType]
    uris = [str(tmp_path / f"{name}.mp3") for name in "aaabbaac"]
    uris += [parquet_uri(str(tmp_path / "rows.parquet"), number, "sound") for number in (0, 0, 1)]
    made = [row(number, number * 8_000, 24_000, uri) for number, uri in enumerate(uris)]
    return [*made, row(11, 0, 400, None, MP3), row(12, 500, 400, "gone.mp3", MP3)]


@pytest.mark.parametrize("threads", [1, 3])
def test_each_row_comes_with_its_own_samples(rows: list[Row], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.sources.audio_files.AHEAD_SAMPLES", 60_000)  # the first file streams
    for (given, blocks), expected in zip(row_streams(iter(rows), threads), rows, strict=True):
        assert given is expected
        np.testing.assert_array_equal(np.concatenate(list(blocks)), part(expected))


def test_blocks_that_nobody_asks_for(rows: list[Row]) -> None:
    for number, (given, blocks) in enumerate(row_streams(rows)):
        if number % 2:
            np.testing.assert_array_equal(next(blocks), part(given))


def test_segments_of_one_file_open_it_once(rows: list[Row]) -> None:
    for (_, blocks), expected in zip(row_streams(rows[:3]), [part(each) for each in rows[:3]], strict=True):
        np.testing.assert_array_equal(np.concatenate(list(blocks)), expected)
        Path(rows[0]["audio"]["uri"]).unlink(missing_ok=True)


def test_an_error_is_of_its_row_alone(rows: list[Row]) -> None:
    rows[1] |= {"offset_samples": 159_000}
    rows[11] |= {"audio": {"uri": None, "bytes": b"not audio"}, "checksum": checksum(b"not audio")}
    reasons: dict[int, str] = {}
    for number, (given, blocks) in enumerate(row_streams(rows)):
        try:
            np.testing.assert_array_equal(np.concatenate(list(blocks)), part(given))
        except AudioError as error:
            reasons[number] = error.reason
    assert reasons == {1: "bad_segment", 11: "not_audio"}


@pytest.mark.parametrize("row_number", [3, 9])
def test_audio_that_is_gone_since_ingest_is_no_reject(rows: list[Row], tmp_path: Path, row_number: int) -> None:
    (tmp_path / "b.mp3").unlink()
    rows[9]["audio"] |= {"uri": parquet_uri(str(tmp_path / "rows.parquet"), 7, "sound")}
    with pytest.raises(UserError, match="was there when it was ingested"):
        list(row_streams([rows[row_number]]))


def test_other_bytes_than_at_ingest_are_refused(rows: list[Row]) -> None:
    with pytest.raises(UserError, match="contents changed since it was ingested"):
        list(row_streams([rows[0] | {"checksum": "0" * 64}]))


@pytest.mark.parametrize("threads", [1, 3])
def test_units_and_rejects_of_segments(rows: list[Row], threads: int) -> None:
    rows[1] |= {"offset_samples": 159_000}
    extractor = MfccConfig().load()
    centroids_KD = np.random.default_rng(0).normal(0, 5, (20, extractor.dim)).astype(np.float32)
    quantizer = Quantizer(extractor, centroids_KD, "0" * 64)
    output = quantize_rows(rows, lambda: (quantizer, threads))
    assert [(reject.utterance_id, reject.reason) for reject in output.rejects] == [("utterance1", "bad_segment")]
    good = rows[:1] + rows[2:]
    for units, each in zip(output.tables[0][1].to_pylist(), good, strict=True):
        assert units["utterance_id"] == each["utterance_id"]
        runs = Runs(np.array(units["units"], np.uint16), np.array(units["durations"], np.uint16))
        np.testing.assert_array_equal(to_frames(runs), np.concatenate(list(quantizer.quantize([part(each)]))))
