"""Any audio in, mono 16 kHz out; damage ends in an error with its reason."""

import errno
import json
import os
import subprocess
import sys
import wave
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

import av
import fsspec  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import pytest
import soundfile

from unitlang.audio.playback import KEPT_SAMPLES
from unitlang.audio.reading import Segment, load, measure, probe, stream, stream_segments
from unitlang.errors import AudioError
from unitlang.frames import HUBERT_GRID

NOISE = np.random.default_rng(0).normal(0, 0.1, 66_000).astype(np.float32)


def encode(samples: np.ndarray, rate: int = 16000, **kind: str) -> bytes:
    file = BytesIO()
    soundfile.write(file, samples, rate, **kind)
    return file.getvalue()


WAV = encode(NOISE, format="WAV", subtype="PCM_16")
FLAC = encode(NOISE, format="FLAC")


def reason(source: str | Path | bytes, offset: int = 0, num: int | None = None) -> str:
    with pytest.raises(AudioError) as caught:
        load(source, offset_samples=offset, num_samples=num)
    return caught.value.reason


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]


@pytest.mark.parametrize(
    "kind",
    [{"format": "FLAC"}, {"format": "WAV", "subtype": "PCM_16"}, {"format": "WAV", "subtype": "FLOAT"}],
)
def test_native_16_khz_is_bit_exact(kind: dict[str, str]) -> None:
    data = encode(NOISE, **kind)
    expected, _ = soundfile.read(BytesIO(data), dtype="float32")
    np.testing.assert_array_equal(load(data), expected)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44099, 44100, 48000, 192000])
def test_length_is_floor_of_the_exact_one_and_known_in_advance(rate: int) -> None:
    data = encode(NOISE, rate, format="WAV", subtype="PCM_16")
    expected = len(NOISE) * 16000 // rate
    assert len(load(data)) == measure(data)[1] == probe(data).num_samples == expected


def test_resampling_keeps_a_tone() -> None:
    seconds = np.arange(2 * 44100) / 44100
    tone = load(encode(0.5 * np.sin(2 * np.pi * 440 * seconds), 44100, format="WAV", subtype="FLOAT"))
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32000) / 16000)
    np.testing.assert_allclose(tone[200:-200], expected[200:-200], atol=1e-4)


@pytest.mark.parametrize("channels", [2, 3, 5, 8, 9, 17, 64])
def test_equal_channels_keep_their_level(channels: int) -> None:
    data = encode(np.tile(NOISE[:2000, None], (1, channels)), format="WAV", subtype="FLOAT")
    np.testing.assert_allclose(load(data), NOISE[:2000], atol=1e-6)


@pytest.mark.parametrize(
    ("rate", "kind"),
    [
        (16000, {"format": "FLAC"}),
        (44100, {"format": "FLAC"}),
        (22050, {"format": "WAV", "subtype": "PCM_24"}),
        (44100, {"format": "CAF", "subtype": "PCM_16"}),
        (44100, {"format": "MP3"}),
        (16000, {"format": "OGG", "subtype": "OPUS"}),
        (8000, {"format": "WAV", "subtype": "IMA_ADPCM"}),
    ],
)
def test_segment_is_what_cutting_the_whole_gives(rate: int, kind: dict[str, str]) -> None:
    data = encode(NOISE, rate, **kind)
    whole = load(data)
    for offset in (0, 1, 2999, 12345, len(whole) - 400):
        np.testing.assert_array_equal(load(data, offset_samples=offset), whole[offset:])
        part = load(data, offset_samples=offset, num_samples=400)
        np.testing.assert_array_equal(part, whole[offset : offset + 400])


Outcome = tuple[bytes, str | None]


def outcome(blocks: Iterator[np.ndarray]) -> Outcome:
    """All samples that come, and the error after them."""
    samples = b""
    try:
        for block in blocks:
            samples += block.tobytes()
    except AudioError as error:
        return samples, str(error)
    return samples, None


def check_segments(source: str | Path | bytes, segments: list[Segment]) -> list[Outcome]:
    """Segments by `stream_segments`, which must equal those by `stream`."""
    together = [outcome(blocks) for blocks in stream_segments(source, segments, block_samples=5_000)]
    alone = [outcome(stream(source, offset_samples=at, num_samples=num, block_samples=5_000)) for at, num in segments]
    assert together == alone
    return together


@pytest.mark.parametrize(
    ("rate", "kind"),
    [
        (16000, {"format": "WAV", "subtype": "PCM_16"}),
        (44100, {"format": "FLAC"}),
        (44100, {"format": "MP3"}),
        pytest.param(16000, {"format": "OGG", "subtype": "OPUS"}, marks=pytest.mark.slow),
    ],
)
def test_segments_together_are_what_they_are_alone(rate: int, kind: dict[str, str]) -> None:
    data = encode(np.tile(NOISE, 5), rate, **kind)
    _, length = measure(data)
    rng = np.random.default_rng(rate)
    offsets = rng.integers(0, length, 20)
    segments = [(int(at), int(rng.integers(1, min(20_000, length - at) + 1))) for at in offsets]
    rising: list[Segment] = [*sorted(segments), (length - 500, 500), (length - 300, None)]
    for chosen in (rising, [(0, None), *segments[:5], (0, length), (0, length)]):
        assert all(samples and error is None for samples, error in check_segments(data, chosen))


@pytest.mark.parametrize("data", [WAV, encode(NOISE, format="MP3")], ids=["wav", "mp3"])
def test_segments_may_be_left_early(data: bytes) -> None:
    segments = [(at, 9_000) for at in range(0, 54_000, 6_000)]
    found: list[np.ndarray] = []
    for number, blocks in enumerate(stream_segments(data, segments, block_samples=4_000)):
        found += [next(blocks) for _ in range(number % 3)]
    expected = [
        load(data, offset_samples=at + 4_000 * part, num_samples=4_000)
        for number, (at, _) in enumerate(segments)
        for part in range(number % 3)
    ]
    np.testing.assert_array_equal(found, expected)


def test_rising_segments_open_a_file_once(tmp_path: Path) -> None:
    path = tmp_path / "long.mp3"
    path.write_bytes(encode(np.tile(NOISE, 8), format="MP3"))
    segments: list[Segment] = [(0, 9_000), (8_000, 200_000), (208_000 - KEPT_SAMPLES, 9_000), (300_000, 50), (0, 50)]
    expected = [outcome(stream(path, offset_samples=at, num_samples=num)) for at, num in segments]
    found: list[Outcome] = []
    for blocks in stream_segments(path, segments):
        found.append(outcome(blocks))
        path.unlink(missing_ok=True)
    assert found[:-1] == expected[:-1]
    assert "missing" in str(found[-1][1])


@pytest.mark.parametrize(
    ("rate", "kind"),
    [
        (16000, {"format": "FLAC"}),
        (44100, {"format": "FLAC"}),
        (16000, {"format": "WAV", "subtype": "PCM_16"}),
        (22050, {"format": "WAV", "subtype": "PCM_24"}),
        (48000, {"format": "AIFF", "subtype": "PCM_24"}),
        (44100, {"format": "CAF", "subtype": "PCM_16"}),
        (8000, {"format": "W64", "subtype": "ULAW"}),
    ],
)
def test_segments_of_a_file_that_can_seek_open_it_once(rate: int, kind: dict[str, str], tmp_path: Path) -> None:
    """In any order; what lies at its start or its end may open it again."""
    path = tmp_path / "long"
    path.write_bytes(encode(np.tile(NOISE, 4), rate, **kind))
    _, length = measure(path)
    offsets = np.random.default_rng(rate).integers(4_000, length - 30_000, 12)
    segments: list[Segment] = [(int(at), 20_000) for at in offsets]
    expected = [outcome(stream(path, offset_samples=at, num_samples=num)) for at, num in segments]
    found: list[Outcome] = []
    for blocks in stream_segments(path, segments):
        found.append(outcome(blocks))
        path.unlink(missing_ok=True)
    assert found == expected
    assert all(samples and error is None for samples, error in found)


def test_a_damaged_segment_spoils_no_other() -> None:
    data = encode(np.tile(NOISE, 4), format="FLAC")
    broken = flip(data, len(data) // 2)
    segments: list[Segment] = [(at, 11_000) for at in range(5_000, 250_000, 11_000)]
    found = check_segments(broken, [*segments, *segments[::-1]])
    assert len([error for _, error in found if error]) in (0, 2, 4)
    whole = check_segments(data, [*segments, *segments[::-1]])
    assert len([one for one, other in zip(found, whole, strict=True) if one != other]) in (2, 4)


def spoilt() -> bytes:
    samples = NOISE.copy()
    samples[25_000] = np.nan
    return encode(samples, format="WAV", subtype="FLOAT")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (WAV, [None, None, None, None, "bad_segment", "bad_segment"]),
        (encode(NOISE, format="OGG"), [None, None, None, None, "bad_segment", "bad_segment"]),
        (spoilt(), [None, "not_finite", "not_finite", None, "bad_segment", "bad_segment"]),
        (encode(NOISE, format="MP3")[:9_000], [None, None, "truncated", "truncated", "bad_segment", "bad_segment"]),
        (flip(FLAC, len(FLAC) // 2), [None, None, "truncated", None, "bad_segment", "bad_segment"]),
        (
            flip(encode(NOISE, format="OGG", subtype="OPUS"), 9_000),
            [None, None, "corrupt", "corrupt", "bad_segment", "corrupt"],
        ),
        (b"once upon a time " * 100, ["not_audio"] * 4 + ["bad_segment", "not_audio"]),
        (b"", ["empty_file"] * 4 + ["bad_segment", "empty_file"]),
    ],
    ids=["wav", "ogg", "not finite", "cut mp3", "damaged flac", "damaged opus", "text", "empty"],
)
def test_an_error_is_that_of_its_segment_alone(data: bytes, expected: list[str | None]) -> None:
    segments = [(0, 400), (20_000, 12_000), (24_000, None), (40_000, 20_000), (60_000, 0), (65_000, 5_000)]
    errors = [error for _, error in check_segments(data, segments)]
    for error, reason in zip(errors, expected, strict=True):
        assert error is None if reason is None else error is not None and error.endswith(f"[{reason}]"), (error, reason)


class Unsteady(BytesIO):
    """A remote file whose connection breaks once, at the byte asked for."""

    breaks_at: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if Unsteady.breaks_at is not None and self.tell() >= Unsteady.breaks_at:
            Unsteady.breaks_at = None
            raise ConnectionError
        return super().read(size)


class UnsteadyPlace(fsspec.AbstractFileSystem):  # pyright: ignore[reportUntypedBaseClass]
    """Files of the name `speech.mp3` at `unsteady://`."""

    def _open(self, *_: object, **__: object) -> Unsteady:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Unsteady(encode(np.tile(NOISE, 8), format="MP3"))


def test_a_broken_connection_is_no_fault_of_the_audio() -> None:
    fsspec.register_implementation("unsteady", UnsteadyPlace, clobber=True)  # pyright: ignore
    segments: list[Segment] = [(0, 9_000), (100_000, 380_000), (480_000, 40_000)]
    expected = check_segments("unsteady://speech.mp3", segments)
    found: list[Outcome | None] = []
    for number, blocks in enumerate(stream_segments("unsteady://speech.mp3", segments)):
        if number == 1:
            Unsteady.breaks_at = 70_000
            with pytest.raises(ConnectionError):
                outcome(blocks)
        else:
            found.append(outcome(blocks))
    assert found == [expected[0], expected[2]]


@pytest.mark.parametrize("size", [1, 999, 1024, 66_000, 100_000])
def test_blocks_have_the_size_asked_for(size: int) -> None:
    data = encode(NOISE[:5000], format="FLAC")
    blocks = list(stream(data, block_samples=size))
    assert all(len(block) == size for block in blocks[:-1])
    assert 0 < len(blocks[-1]) <= size
    np.testing.assert_array_equal(np.concatenate(blocks), load(data))


def test_path_url_and_bytes_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "speech.mp3"  # its name lies
    path.write_bytes(FLAC)
    with fsspec.open("memory://speech.flac", "wb") as file:  # pyright: ignore
        file.write(FLAC)  # pyright: ignore
    for source in (path, str(path), path.as_uri(), "memory://speech.flac"):
        np.testing.assert_array_equal(load(source), load(FLAC))


@pytest.mark.parametrize(("offset", "num"), [(-1, None), (0, 0), (66_000, None), (65_999, 2), (0, 66_001)])
@pytest.mark.parametrize("data", [WAV, encode(NOISE, format="OGG")], ids=["wav", "ogg"])
def test_segment_outside_the_audio(data: bytes, offset: int, num: int | None) -> None:
    assert reason(data, offset, num) == "bad_segment"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_not_finite(value: float, rate: int) -> None:
    samples = NOISE.copy()
    samples[5000] = value
    assert reason(encode(samples, rate, format="WAV", subtype="FLOAT")) == "not_finite"


def test_missing_and_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    for name in ("none.wav", "link.wav", "pipe.wav", "", "x" * 5000, "a\0b"):
        assert reason(tmp_path / name) == "missing"
    for url in ("memory://none.wav", "nosuchprotocol://x.wav", (tmp_path / "none.wav").as_uri()):
        assert reason(url) == "missing"
    assert reason((tmp_path / "pipe.wav").as_uri()) == "missing"
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    for path in (tmp_path, tmp_path / "loop.wav"):
        assert reason(path) == reason(path.as_uri()) == "missing"


class RefusingPlace(fsspec.AbstractFileSystem):  # pyright: ignore[reportUntypedBaseClass]
    """A store at `refusing://` that fails as the name of the file says."""

    def _open(self, path: str, *_: object, **__: object) -> BytesIO:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise OSError(getattr(errno, path.rpartition("/")[2]), "refused")


@pytest.mark.parametrize("name", ["EACCES", "EPERM", "EIO", "ESTALE", "ECONNRESET", "ETIMEDOUT"])
def test_a_store_that_refuses_is_no_fault_of_the_audio(name: str) -> None:
    fsspec.register_implementation("refusing", RefusingPlace, clobber=True)  # pyright: ignore
    with pytest.raises(OSError, match="refused"):
        load(f"refusing://{name}")
    assert [reason(f"refusing://{fault}") for fault in ("ENOENT", "EISDIR", "ENOTDIR")] == ["missing"] * 3


def test_too_many_open_files_are_no_fault_of_the_audio(tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    path.write_bytes(WAV)
    limits = getrlimit(RLIMIT_NOFILE)
    setrlimit(RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="open files"):
            load(path)
    finally:
        setrlimit(RLIMIT_NOFILE, limits)
    assert len(load(path)) == len(NOISE)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty_file"),
        (b"once upon a time " * 100, "not_audio"),
        (WAV[:30], "corrupt"),
        (WAV[:24] + bytes(8) + WAV[32:], "corrupt"),
        (WAV[:24] + b"\x01\0\0\0\x02\0\0\0" + WAV[32:], "corrupt"),
        (encode(np.zeros((100, 65)), format="WAV"), "corrupt"),
        (encode(NOISE[:0], format="WAV"), "no_samples"),
        (WAV[:-400], "truncated"),
        (WAV[:1000], "truncated"),
        (FLAC[:-100], "truncated"),
        (encode(NOISE, format="MP3")[:3000], "truncated"),
        (flip(FLAC, len(FLAC) // 2), "truncated"),
        (flip(encode(NOISE, format="OGG", subtype="OPUS"), 9_000), "corrupt"),
    ],
)
def test_damage(data: bytes, expected: str) -> None:
    assert reason(data) == expected


def test_flac_of_unknown_length_that_is_cut() -> None:
    data = FLAC[:21] + bytes([FLAC[21] & 0xF0]) + bytes(4) + FLAC[26:]
    assert probe(data).num_samples is None
    np.testing.assert_array_equal(load(data), load(FLAC))
    assert reason(data[:-1000]) == "corrupt"
    for at in range(len(data) // 8, len(data) - 5_000, len(data) // 40):
        assert reason(flip(data, at)) == "corrupt", at
    np.testing.assert_array_equal(load(data + data), np.concatenate([load(FLAC)] * 2))


@pytest.mark.parametrize("size", [b"\0\0\0\0", b"\xff\xff\xff\xff"])
def test_wav_written_to_a_pipe(size: bytes) -> None:
    data = WAV[:40] + size + WAV[44:]
    assert probe(data).num_samples is None
    assert measure(data)[1] == len(NOISE)
    assert len(load(data[:-1000])) == len(NOISE) - 500


def ac3(waveform: np.ndarray, rate: int) -> bytes:
    file = BytesIO()
    with av.open(file, "w", format="ac3") as container:
        stream = container.add_stream("ac3", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def test_a_wav_of_other_sound_than_its_header_says() -> None:
    coded = ac3(NOISE, 48000)
    file = BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(2)
        wav.setsampwidth(2)
        wav.setframerate(48000)
        wav.writeframes(coded)
    assert probe(file.getvalue()).codec == "ac3"
    assert len(load(file.getvalue())) == pytest.approx(len(NOISE) / 3, rel=0.05)


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(WAV)
    texts = [f"ffconcat version 1.0\nfile {tmp_path}/a.wav\n"]
    texts += [f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{tmp_path}/a.wav\n#EXT-X-ENDLIST\n"]
    for text in texts:
        assert reason(text.encode()) == "not_audio"


def test_nothing_is_printed(tmp_path: Path) -> None:
    (tmp_path / "cut.mp3").write_bytes(flip(encode(NOISE, format="MP3"), 2000)[:5000])
    code = "import sys, unitlang.audio.reading as a\ntry: a.load(sys.argv[1])\nexcept ValueError: pass"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "cut.mp3"], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def end(source: Path) -> int | str:
    """Frames of the audio, or the reason why there are none."""
    try:
        waveform = load(source)
        assert measure(source)[1] == len(waveform)
    except AudioError as error:
        return error.reason
    return HUBERT_GRID.num_frames(len(waveform))


def test_awkward_files_that_were_made(shared_data: Path) -> None:
    folder = shared_data / "awkward"
    cases = json.loads((folder / "made_manifest.json").read_text())
    ends = {case["file"]: end(folder / "made" / case["file"]) for case in cases}
    for case in cases:
        got, expect = ends[case["file"]], case["expect"]
        match expect.split()[0].rstrip(";"):
            case "decode":
                assert isinstance(got, int), (case, got)
                assert got > 0, case
            case "reject" | "empty" | "reject/empty":
                assert isinstance(got, str), case
            case "too":
                assert got == 0, case
            case "partial/reject":
                assert got != 0, case
            case frames:
                assert got == int(frames), case
    for name in ("trunc_half.wav", "trunc_odd.wav", "trunc.flac", "trunc.mp3"):
        assert ends[name] == "truncated", name
    assert isinstance(ends["trunc.opus"], int)


def test_awkward_files_that_were_found(shared_data: Path) -> None:
    for path in sorted((shared_data / "awkward" / "found").rglob("*.*")):
        if path.is_file():
            end(path)
