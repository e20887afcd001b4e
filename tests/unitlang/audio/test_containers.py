"""Lengths that headers state: exact where they are, nothing where writers left them open."""

from io import BytesIO
from struct import pack

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from unitlang.audio.containers import MP4, has_audio_magic, read_statement
from unitlang.audio.statement import Statement

FORMATS = ["wav", "w64", "aiff", "au", "caf", "flac", "mp3", MP4, "nistsphere"]


def encode(num_samples: int, channels: int = 1, rate: int = 16000, **kind: str) -> bytes:
    samples = np.random.default_rng(0).normal(0, 0.1, (num_samples, channels)).astype(np.float32)
    file = BytesIO()
    soundfile.write(file, samples, rate, **kind)
    return file.getvalue()


def stated(data: bytes, name: str) -> Statement:
    return read_statement(BytesIO(data), name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("wav", {"format": "WAV", "subtype": "PCM_16"}),
        ("wav", {"format": "WAV", "subtype": "PCM_24"}),
        ("wav", {"format": "WAV", "subtype": "FLOAT"}),
        ("wav", {"format": "WAVEX", "subtype": "PCM_16"}),
        ("wav", {"format": "WAV", "subtype": "ULAW"}),
        ("wav", {"format": "RF64", "subtype": "PCM_16"}),
        ("w64", {"format": "W64", "subtype": "PCM_32"}),
        ("aiff", {"format": "AIFF", "subtype": "PCM_16"}),
        ("aiff", {"format": "AIFF", "subtype": "FLOAT"}),
        ("au", {"format": "AU", "subtype": "PCM_16"}),
        ("au", {"format": "AU", "subtype": "ALAW"}),
        ("caf", {"format": "CAF", "subtype": "PCM_24"}),
        ("flac", {"format": "FLAC", "subtype": "PCM_16"}),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_fixed_size_samples_and_flac_are_exact(name: str, kind: dict[str, str], channels: int) -> None:
    data = encode(1234, channels, **kind)
    statement = stated(data, name)
    assert statement.num_samples == 1234
    assert statement.end is None or statement.end <= len(data)


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_by_lame_is_exact(rate: int, channels: int) -> None:
    assert stated(encode(12345, channels, rate, format="MP3"), "mp3").num_samples == 12345


def test_mp3_joined_to_another_states_nothing() -> None:
    data = encode(12345, format="MP3")
    assert stated(data + data, "mp3") == Statement()
    assert stated(data + b"TAG" + bytes(125), "mp3").num_samples == 12345


def test_mp3_after_an_id3_tag() -> None:
    assert stated(b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256) + encode(12345, format="MP3"), "mp3").num_samples


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFE])
def test_wav_written_to_a_pipe_states_nothing(size: int) -> None:
    data = encode(1000, format="WAV", subtype="PCM_16")
    at = data.index(b"data") + 4
    assert stated(data[:at] + pack("<I", size) + data[at + 4 :], "wav") == Statement()


@pytest.mark.parametrize("size", [0x80000000, 3_000_000_000])
def test_wav_of_more_than_2_gib_is_exact(size: int) -> None:
    data = encode(1000, format="WAV", subtype="PCM_16")
    at = data.index(b"data") + 4
    assert stated(data[:at] + pack("<I", size) + data[at + 4 :], "wav").num_samples == size // 2


def test_cut_wav_ends_beyond_the_file() -> None:
    data = encode(1000, format="WAV", subtype="PCM_16")[:-500]
    end = stated(data, "wav").end
    assert end is not None
    assert end > len(data)


def test_compressed_wav_states_its_end_only() -> None:
    data = encode(4000, format="WAV", subtype="IMA_ADPCM")
    statement = stated(data, "wav")
    assert (statement.num_samples, statement.end) == (None, len(data))


def test_unknown_lengths() -> None:
    flac = bytearray(encode(1000, format="FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    assert stated(bytes(flac), "flac").num_samples is None
    au = encode(1000, format="AU", subtype="PCM_16")
    assert stated(au[:8] + b"\xff\xff\xff\xff" + au[12:], "au") == Statement()


def test_mp4_states_where_its_media_data_ends() -> None:
    boxes = pack(">I4s4s", 12, b"ftyp", b"M4A ") + pack(">I4s", 5000, b"mdat")
    assert stated(boxes + bytes(100), MP4) == Statement(None, 5012)
    assert stated(pack(">I4s", 0, b"mdat") + bytes(100), MP4) == Statement()


def test_sphere_header() -> None:
    header = b"NIST_1A\n   1024\nsample_count -i 8000\nend_head\n".ljust(1024)
    assert stated(header, "nistsphere").num_samples == 8000


@pytest.mark.parametrize("name", ["ogg", "aac", "matroska,webm"])
def test_estimates_are_not_read(name: str) -> None:
    assert stated(encode(1000, format="OGG"), name) == Statement()


@pytest.mark.parametrize("name", FORMATS)
@given(
    head=st.sampled_from([b"", b"RIFF____WAVE", b"fLaC", b"ID3\x04", b"\xff\xfb", b"FORM____AIFF"]),
    tail=st.binary(),
)
def test_any_bytes_end_in_a_statement(name: str, head: bytes, tail: bytes) -> None:
    assert isinstance(stated(head + tail, name), Statement)


def test_magic() -> None:
    assert has_audio_magic(encode(10, format="FLAC"))
    assert has_audio_magic(b"\0\0\0\x1cftypM4A ")
    assert not has_audio_magic(b"once upon a time")
