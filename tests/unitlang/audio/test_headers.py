"""Headers of other tools: valid bits, byte orders, sizes that writers guessed, lengths that no file can hold."""

from io import BytesIO
from pathlib import Path
from struct import pack
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from av.error import FFmpegError
from numpy.typing import NDArray

from unitlang.audio.reading import LOUDEST, load, measure, stream
from unitlang.errors import AudioError

NOISE = np.random.default_rng(0).normal(0, 0.1, (4_000, 2)).clip(-1, 1)
GUID_END = bytes.fromhex("800000aa00389b71")


def reason(data: bytes | Path) -> str:
    """Reason why the audio cannot be used, from its header or from its sound."""
    try:
        measure(data)
        load(data)
    except AudioError as error:
        return error.reason
    return "none"


def wav(samples: bytes, width: int, *, tag: int = 1, valid: int | None = None, big: bool = False) -> bytes:
    """A WAV of two channels with samples of `width` bytes; extensible if valid bits are given."""
    order = ">" if big else "<"
    fmt = pack(f"{order}HHIIHH", tag if valid is None else 0xFFFE, 2, 16000, 32000 * width, 2 * width, 8 * width)
    if valid is not None:
        fmt += pack(f"{order}HHIIHH", 22, valid, 3, tag, 0, 16) + GUID_END
    chunks = b"fmt " + pack(f"{order}I", len(fmt)) + fmt + b"data" + pack(f"{order}I", len(samples)) + samples
    return (b"RIFX" if big else b"RIFF") + pack(f"{order}I", 4 + len(chunks)) + b"WAVE" + chunks


def integers(valid: int, width: int, big: bool) -> bytes:
    """NOISE as integers of so many valid bits at the top of their containers."""
    values = np.round(NOISE * (2 ** (valid - 1) - 1)).astype(np.int64) << (8 * width - valid)
    if width == 1:
        return (values + 128).astype(np.uint8).tobytes()
    wide = values.astype("<i8").tobytes()
    order = range(width - 1, -1, -1) if big else range(width)
    return np.frombuffer(wide, np.uint8).reshape(-1, 8)[:, order].tobytes()


@pytest.mark.parametrize("big", [False, True], ids=["RIFF", "RIFX"])
@pytest.mark.parametrize(
    ("valid", "width"),
    [(valid, width) for width in (1, 2, 3, 4) for valid in (8, 12, 16, 20, 24, 32) if valid <= 8 * width],
)
def test_valid_bits_in_larger_containers(valid: int, width: int, big: bool) -> None:
    data = wav(integers(valid, width, big), width, valid=valid, big=big)
    if big:  # FFmpeg refuses extensible headers in RIFX
        assert reason(data) == "unsupported"
        return
    expected, rate = soundfile.read(BytesIO(data), dtype="float32")
    assert rate == 16000
    found = load(data)
    np.testing.assert_allclose(found, expected.mean(axis=1), atol=2e-7)
    assert measure(data)[1] == len(found) == len(NOISE)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_integers_in_either_byte_order(width: int) -> None:
    little, big = (wav(integers(8 * width, width, big), width, big=big) for big in (False, True))
    np.testing.assert_array_equal(load(big), load(little))
    expected = soundfile.read(BytesIO(big), dtype="float32")[0]
    np.testing.assert_allclose(load(big), expected.mean(axis=1), atol=2e-7)


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("big", [False, True], ids=["RIFF", "RIFX"])
@pytest.mark.parametrize("width", [4, 8])
def test_floats(width: int, big: bool, extensible: bool) -> None:
    valid = 8 * width if extensible and not big else None
    data = wav(NOISE.astype(f"{'>' if big else '<'}f{width}").tobytes(), width, tag=3, valid=valid, big=big)
    np.testing.assert_allclose(load(data), soundfile.read(BytesIO(data), dtype="float32")[0].mean(axis=1), atol=1e-7)


@pytest.mark.parametrize(("tag", "subtype"), [(6, "ALAW"), (7, "ULAW")])
@pytest.mark.parametrize("big", [False, True], ids=["RIFF", "RIFX"])
def test_companded_samples(tag: int, subtype: str, big: bool) -> None:
    data = wav(bytes(range(256)) * 8, 1, tag=tag, big=big)
    expected = soundfile.read(BytesIO(wav(bytes(range(256)) * 8, 1, tag=tag)), dtype="float32")[0]
    assert soundfile.info(BytesIO(wav(bytes(2), 1, tag=tag))).subtype == subtype
    np.testing.assert_allclose(load(data), expected.mean(axis=1), atol=2e-5)


def restated(data: bytes, size: int) -> bytes:
    """The WAV with another size of its data."""
    at = data.index(b"data") + 4
    return data[:at] + pack("<I", size) + data[at + 4 :]


WAV = wav(integers(16, 2, False), 2)
DATA_BYTES = len(NOISE) * 4


@pytest.mark.parametrize(
    "size",
    [
        0x80000000,  # arecord
        2_000_000_000,  # a stream whose length was to be written later
        1_000_000_000,
        4 * 100_000_000,  # as many samples
        0x7F000000,
        0xFFFFFFFF,
        0x7FFFFFFF - 36,
        0,
        DATA_BYTES + 4,  # one sample too many
        DATA_BYTES + 16,
        DATA_BYTES + 36,  # the size of the RIFF chunk
        DATA_BYTES + 44,  # the size of the file
        DATA_BYTES + 1,
    ],
)
def test_a_size_that_a_writer_guessed(size: int) -> None:
    data = restated(WAV, size)
    assert measure(data)[1] == len(load(data)) == len(NOISE)
    np.testing.assert_array_equal(load(data), load(WAV))


@pytest.mark.parametrize("size", [DATA_BYTES + 640, DATA_BYTES + 100_000, 2 * DATA_BYTES, 1_234_567_890])
def test_ten_milliseconds_and_more_are_a_truncation(size: int) -> None:
    assert reason(restated(WAV, size)) == "truncated"


def container(kind: str) -> bytes:
    file = BytesIO()
    soundfile.write(file, NOISE, 16000, format=kind, subtype="PCM_16")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["W64", "RF64", "AU", "CAF", "AIFF", "WAVEX"])
@pytest.mark.parametrize(("cut", "length"), [(4, len(NOISE) - 1), (6, len(NOISE) - 2), (400, len(NOISE) - 100)])
def test_a_few_samples_may_be_missing_in_every_container_of_samples(kind: str, cut: int, length: int) -> None:
    whole = container(kind)
    data = whole[: whole.index(first_bytes(whole)) + DATA_BYTES - cut]
    assert measure(data)[1] == len(load(data)) == length
    assert reason(data[:-1_000]) == "truncated"


@pytest.mark.parametrize("kind", ["WAV", "W64", "RF64", "AU", "CAF", "AIFF", "FLAC", "OGG"])
@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), b"\xff\x7f" * 5_000, b"\0"], ids=["tag", "noise", "zero"])
def test_bytes_after_the_sound_change_nothing(kind: str, tail: bytes) -> None:
    file = BytesIO()
    soundfile.write(file, NOISE, 22_050, format=kind, **({} if kind == "OGG" else {"subtype": "PCM_16"}))
    np.testing.assert_array_equal(load(file.getvalue() + tail), load(file.getvalue()))


def first_bytes(data: bytes) -> bytes:
    """The first bytes of the sound, in the byte order of the container."""
    big = data[:4] in (b"FORM", b".snd", b"caff")
    first = np.round(NOISE[:4] * 32767).astype(">i2" if big else "<i2").tobytes()
    return first if first in data else np.floor(NOISE[:4] * 32768).astype(">i2" if big else "<i2").tobytes()


def test_a_flac_of_more_samples_than_its_bytes_can_hold() -> None:
    file = BytesIO()
    soundfile.write(file, NOISE, 16000, format="FLAC")
    data = bytearray(file.getvalue())
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    assert reason(bytes(data)) == "truncated"


def test_an_mp3_of_more_frames_than_its_bytes_can_hold() -> None:
    file = BytesIO()
    soundfile.write(file, NOISE, 16000, format="MP3")
    data = bytearray(file.getvalue())
    at = max(data.find(b"Xing"), data.find(b"Info"))
    data[at + 8 : at + 12] = pack(">I", 1 << 31)
    assert reason(bytes(data)) == "truncated"


def test_an_aiff_of_more_samples_than_its_bytes_can_hold() -> None:
    data = bytearray(container("AIFF"))
    at = data.index(b"COMM") + 10
    data[at : at + 4] = pack(">I", 1 << 30)
    assert reason(bytes(data)) == "truncated"


def test_a_sphere_file_of_more_samples_than_its_bytes_can_hold() -> None:
    header = b"NIST_1A\n   1024\nsample_count -i 800000\nsample_n_bytes -i 2\nchannel_count -i 1\n"
    header += b"sample_byte_format -s2 01\nsample_rate -i 16000\nsample_coding -s3 pcm\nend_head\n"
    assert reason(header.ljust(1024) + integers(16, 2, False)) == "truncated"


@pytest.mark.parametrize("value", [LOUDEST * 2, -3.2e38, np.inf, np.nan])
def test_a_flipped_bit_in_a_float_is_not_sound(value: float) -> None:
    samples = NOISE.astype("<f4")
    samples[1_000] = value
    assert reason(wav(samples.tobytes(), 4, tag=3)) == "not_finite"


def test_unscaled_integers_as_floats_are_sound() -> None:
    samples = (NOISE * 2**31).astype("<f4")
    assert len(load(wav(samples.tobytes(), 4, tag=3))) == len(NOISE)


CASES: dict[str, str | int] = {
    "padded/ext_16in24.wav": 24_000,
    "padded/ext_16in32.wav": 24_000,
    "padded/ext_24in32.wav": 24_000,
    "rifx/PCM_16.wav": 24_000,
    "sizes/arecord_0x80000000.wav": 24_000,
    "sizes/one_sample_missing.wav": 24_000,
    "sizes/pocket_tts_2000000000.wav": 24_000,
    "ogg/flac_starts_at_5s.oga": 24_000,
    "ogg/opus_page2_bad_checksum.opus": "corrupt",
    "float/bitflip_float.wav": "not_finite",
}
"""Files that other tools made or damaged, and how many samples they are or why they are a reject."""


@pytest.mark.parametrize("name", CASES)
def test_a_file_of_another_tool(name: str, shared_data: Path) -> None:
    cases, expected = shared_data / "cases", CASES[name]
    if isinstance(expected, str):
        assert reason(cases / name) == expected
        return
    good = load(cases / "good.wav")
    np.testing.assert_array_equal(load(cases / name), good)
    assert measure(cases / name)[1] == len(good) == expected


@pytest.mark.parametrize(("bits", "width"), [(8, 2), (8, 4), (12, 3), (12, 4), (16, 3), (16, 4), (20, 4)])
@pytest.mark.parametrize("big", [False, True], ids=["RIFF", "RIFX"])
def test_padded_samples_without_an_extensible_header_are_no_noise(bits: int, width: int, big: bool) -> None:
    data = stated_bits(wav(integers(bits, width, big), width, big=big), bits, big)
    assert reason(data) == "corrupt"
    with pytest.raises(AudioError, match=f"2 channels of {bits} bits in blocks of {2 * width} bytes"):
        measure(data)


@pytest.mark.parametrize("valid", [None, 16], ids=["plain", "extensible"])
@pytest.mark.parametrize("at", range(22, 24))
def test_a_flipped_bit_in_the_number_of_channels_is_no_noise(at: int, valid: int | None) -> None:
    for bit in range(8):
        data = bytearray(wav(integers(16, 2, False), 2, valid=valid))
        data[at] ^= 1 << bit
        assert reason(bytes(data)) in {"corrupt", "no_audio_stream"}, bit


@pytest.mark.parametrize("valid", [None, 24], ids=["plain", "extensible"])
@pytest.mark.parametrize("at", range(32, 34))
def test_a_flipped_bit_in_the_size_of_a_block_is_no_noise(at: int, valid: int | None) -> None:
    whole = wav(integers(24, 3, False), 3, valid=valid)
    for bit in range(8):
        data = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
        if reason(data) != "corrupt":
            np.testing.assert_array_equal(load(data), load(whole), err_msg=str(bit))


@pytest.mark.parametrize("bit", [0, 1, 2, 3, 5, 6, 7])
def test_a_flipped_bit_in_the_bits_of_a_sample_is_no_noise(bit: int) -> None:
    assert reason(stated_bits(WAV, 16 ^ 1 << bit)) in {"corrupt", "not_audio"}


@pytest.mark.parametrize("valid", [20, 24])
def test_24_bits_in_4_bytes_of_a_plain_header_are_never_noise(valid: int) -> None:
    """FFmpeg reads them as the floats of Cool Edit, which integers around 0 are not."""
    assert reason(stated_bits(wav(integers(valid, 4, False), 4), 24)) == "not_finite"
    floats = (NOISE * 2**23).astype("<f4").tobytes()
    np.testing.assert_allclose(load(stated_bits(wav(floats, 4), 24)), NOISE.mean(axis=1), atol=1e-6)


def test_a_block_size_that_only_one_field_states_is_not_believed() -> None:
    """A writer left the block size of another format, or gave one channel's size for two; the samples are whole."""
    data = bytearray(WAV)
    data[32:34] = pack("<H", 8)
    np.testing.assert_array_equal(load(bytes(data)), load(WAV))
    data[28:34] = pack("<IH", 32_000, 2)
    np.testing.assert_array_equal(load(bytes(data)), load(WAV))


def stated_bits(data: bytes, bits: int, big: bool = False) -> bytes:
    """The WAV with another number of bits of a sample in its header."""
    at = data.index(b"fmt ") + 22
    return data[:at] + pack(">H" if big else "<H", bits) + data[at + 2 :]


FIELDS = {
    "AU": (b".snd", 8, ">I"),
    "W64": (b"data", 16, "<Q"),
    "RF64": (b"ds64", 16, "<Q"),
    "CAF": (b"data", 4, ">Q"),
    "AIFF": (b"SSND", 4, ">I"),
}
"""Where a container states the bytes of its samples: behind which name, and as which number."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of libsndfile's seeks in memory
@pytest.mark.parametrize(
    ("kind", "size", "length"),
    [
        ("AU", 0xFFFFFFFF, 4_000),
        ("AU", 0x7FFFFFFF, 4_000),
        ("AU", 2_000_000_000, 4_000),
        ("AU", 0x80000000, 4_000),
        ("AU", 0xFFFFF000, 4_000),
        ("AU", 0, 4_000),
        ("W64", 2_000_000_024, 4_000),
        *(("W64", size, 4_000) for size in (0, 24, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)),
        ("RF64", 0x7FFFFFFF, 4_000),
        ("RF64", 0xFFFFFFFF, 4_000),
        ("RF64", 2_000_000_000, 4_000),
        *(("RF64", size, 4_000) for size in (0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)),
        ("CAF", (1 << 64) - 1, 4_000),
        ("CAF", 2_000_000_004, 4_000),
        *(("CAF", size, 4_000) for size in (0, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, 1 << 63)),
        *(("AIFF", size, 4_000) for size in (0, 0x7FFFFFFF, 0x80000000, 0xFFFFF000, 0xFFFFFFFF)),
    ],
)
def test_a_size_that_a_writer_of_another_container_guessed(kind: str, size: int, length: int) -> None:
    whole = container(kind)
    data = stated_size(whole, kind, size)
    assert measure(data)[1] == length
    np.testing.assert_array_equal(load(data), load(whole))
    np.testing.assert_array_equal(np.concatenate([*stream(data, offset_samples=1_000)]), load(whole)[1_000:])
    for played in (by_libsndfile(data), by_ffmpeg(data)):  # None, less or nothing where they do not know the number
        if played is not None and len(played) == length:
            np.testing.assert_allclose(load(data), played.mean(axis=1), atol=1e-6)


def stated_size(data: bytes, kind: str, size: int) -> bytes:
    """The file with another size of its samples."""
    name, offset, number = FIELDS[kind]
    return patched(data, data.index(name) + offset, pack(number, size))


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def by_libsndfile(data: bytes) -> NDArray[Any] | None:
    try:
        return soundfile.read(BytesIO(data), dtype="float32")[0]
    except (soundfile.LibsndfileError, OverflowError):
        return None


def by_ffmpeg(data: bytes) -> NDArray[Any] | None:
    try:
        with av.open(BytesIO(data), "r") as container:
            frames = [frame.to_ndarray().reshape(-1, 2) for frame in container.decode(audio=0)]
    except FFmpegError:
        return None
    return np.concatenate(frames) / 32768 if frames else None


@pytest.mark.parametrize("kind", ["AU", "W64", "RF64", "CAF", "AIFF"])
def test_a_size_that_no_writer_guesses_is_a_truncation_in_every_container(kind: str) -> None:
    sizes = [2 * DATA_BYTES, DATA_BYTES + 100_000, 0x9ABCDEF0, 1_234_567_890]
    assert {reason(stated_size(container(kind), kind, size)) for size in sizes} == {"truncated"}


def test_open_sizes_of_whole_files_are_open_too() -> None:
    """A recorder that was killed leaves all sizes of its header open."""
    w64, rf64, aiff = container("W64"), container("RF64"), container("AIFF")
    for size in (0, 24, (1 << 64) - 1):
        data = stated_size(patched(w64, 16, pack("<Q", size)), "W64", size)
        np.testing.assert_array_equal(load(data), load(w64))
    at = rf64.index(b"ds64") + 8
    for size in (0, 1 << 63, (1 << 64) - 1):
        np.testing.assert_array_equal(load(patched(rf64, at, pack("<QQQ", size, size, size))), load(rf64))
        bw64 = patched(patched(rf64, 0, b"BW64"), at, pack("<QQQ", size, size, size))
        np.testing.assert_array_equal(load(bw64), load(rf64))
    for size in (0, 0xFFFFFFFF):
        data = patched(stated_size(aiff, "AIFF", size), 4, pack(">I", size))
        np.testing.assert_array_equal(load(data), load(aiff))


def test_an_open_size_does_not_hide_what_else_the_header_says() -> None:
    aiff = stated_size(container("AIFF"), "AIFF", 0)
    assert reason(aiff[:-4_000]) == "truncated", "COMM counts the samples"
    rf64 = stated_size(container("RF64"), "RF64", 0)
    at = rf64.index(b"data", 80) + 4
    assert reason(patched(rf64, at, pack("<I", DATA_BYTES))[:-4_000]) == "truncated", "the size of the chunk itself"


@pytest.mark.parametrize(
    ("kind", "head", "end"),
    [("AIFF", 16, b"NAME" + pack(">I", 4) + b"word"), ("W64", 24, b"levl" + GUID_END * 2 + pack("<Q", 32) + bytes(16))],
)
def test_an_empty_recording_with_chunks_behind_it_has_no_sound(kind: str, head: int, end: bytes) -> None:
    data = stated_size(container(kind), kind, 0)
    at = data.index(b"SSND" if kind == "AIFF" else b"data") + head
    assert reason(data[:at] + end) in {"corrupt", "no_samples", "truncated"}


@pytest.mark.parametrize(
    ("samples", "size"),
    [(0x1FFFFFFF, 0x7FFFFFFF), (0, 0x7FFFFFFF), (4_000, 0xFFFFFFFF), (500_000_000, 2_000_000_008), (0, 0x7F000008)],
)
def test_an_aiff_that_was_written_to_a_pipe(samples: int, size: int) -> None:
    data = container("AIFF")
    comm, sound = data.index(b"COMM") + 10, data.index(b"SSND") + 4
    data = data[:comm] + pack(">I", samples) + data[comm + 4 : sound] + pack(">I", size) + data[sound + 4 :]
    assert measure(data)[1] == len(load(data)) == len(NOISE)
