"""Utterances and their audio: segments of one file share a pass, everything else is read alone."""

from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]
import pytest
import soundfile
from av.audio.frame import AudioFrame

from pipelines.errors import UserError
from pipelines.readers.parquet_audio import parquet_uri
from pipelines.sources.audio_files import audio_source, checksum, decoded, in_passes, row_streams, sound_streams
from pipelines.steps.quantize import quantize_rows
from unitlang.audio.decoding import Decoder
from unitlang.audio.reading import load
from unitlang.audio.sources import AudioSource
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


class Passes:
    """Notes what is opened, hashed and decoded, by any thread.

    Attributes:
        opened: sources of decoders.
        hashed: sizes of files in bytes.
        seconds: seconds of decoded audio.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[AudioSource] = []
        self.hashed: list[int] = []
        self.seconds: list[float] = []
        passes = self

        class Noted(Decoder):
            def __init__(self, source: AudioSource) -> None:
                passes.opened.append(source)
                super().__init__(source)

            def frames(self, start: int = 0) -> Iterator[AudioFrame]:
                for frame in super().frames(start):
                    passes.seconds.append(frame.samples / self.rate)
                    yield frame

        def noted(source: AudioSource) -> str:
            passes.hashed.append(Path(str(source)).stat().st_size)
            return checksum(source)

        monkeypatch.setattr("unitlang.audio.playback.Decoder", Noted)
        monkeypatch.setattr("pipelines.sources.audio_files.checksum", noted)


@pytest.mark.parametrize("kind", ["FLAC", "MP3", "OGG"])
@pytest.mark.parametrize("threads", [1, 3])
def test_shuffled_segments_open_and_decode_each_file_once(
    kind: str, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two files of a minute, of which one is taken channel by channel."""
    minute = np.tile(NOISE, 6)
    rows: list[Row] = []
    for name, samples in (("mono", minute), ("stereo", np.stack([minute, -minute[::-1]], 1))):
        path = tmp_path / f"{name}.{kind}"
        path.write_bytes(encode(kind, samples))
        for number, offset in enumerate(range(0, 900_000, 30_000)):
            made = row(len(rows), offset, 30_000, str(path))
            channel = number % 2 if name == "stereo" else None
            rows.append(made | {"checksum": checksum(str(path)), "channel": channel})
    np.random.default_rng(0).shuffle(rows)  # pyright: ignore[reportArgumentType]
    expected = [
        load(each["audio"]["uri"], offset_samples=each["offset_samples"], num_samples=30_000, channel=each["channel"])
        for each in rows
    ]
    passes = Passes(monkeypatch)
    found = {number: np.concatenate(list(blocks)) for number, blocks in sound_streams(rows, {}, threads)}
    for number, samples in enumerate(expected):
        np.testing.assert_array_equal(found[number], samples)
    assert len(passes.opened) == 3, "one for each channel of the second file"
    assert sorted(passes.hashed) == sorted(path.stat().st_size for path in tmp_path.iterdir())
    wanted, again = len(rows) * 30_000 / 16_000, 0.5 * len(rows)
    assert sum(passes.seconds) <= (wanted + again if kind == "FLAC" else 3 * 60)


def test_what_another_process_decodes_comes_in_the_same_order(rows: list[Row]) -> None:
    order = in_passes(rows)
    assert order[:5] == [0, 1, 2, 5, 6]
    here = [(number, np.concatenate(list(blocks))) for number, blocks in sound_streams(rows, {})]
    there = [(number, np.concatenate(list(blocks))) for number, blocks in sound_streams(rows, {}, 1, decoded(rows))]
    assert [number for number, _ in here] == order == [number for number, _ in there]
    for (number, samples), (_, same) in zip(here, there, strict=True):
        np.testing.assert_array_equal(samples, part(rows[number]))
        np.testing.assert_array_equal(samples, same)


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
