"""Pages of Ogg files: damage is found wherever it is, and what is no damage is let through."""

from io import BytesIO
from itertools import permutations
from pathlib import Path
from struct import pack, unpack

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from unitlang.audio.ogg import damage_of
from unitlang.audio.reading import load, measure
from unitlang.errors import AudioError

NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000 * 5)


def encode(subtype: str, samples: NDArray[np.float64] = NOISE, rate: int = 16_000) -> bytes:
    file = BytesIO()
    soundfile.write(file, samples, rate, format="OGG", subtype=subtype)
    return file.getvalue()


SOUND = {"vorbis": encode("VORBIS"), "opus": encode("OPUS")}
STEREO = NOISE[:40_000].reshape(-1, 2)
LINKS = {
    "vorbis": encode("VORBIS", NOISE[:24_000]),
    "vorbis 2": encode("VORBIS", STEREO),
    "vorbis 22k": encode("VORBIS", NOISE[:24_000], 22_050),
    "opus": encode("OPUS", NOISE[:24_000]),
    "opus 2": encode("OPUS", STEREO),
}
"""Files of several kinds."""


def starts(data: bytes) -> list[int]:
    """Byte positions of the pages."""
    found = [0]
    while (at := data.find(b"OggS", found[-1] + 4)) >= 0:
        found.append(at)
    return found


def outcome(data: bytes) -> str | int:
    """Number of samples, or the reason why there are none."""
    try:
        assert measure(data)[1] == len(load(data))
        return len(load(data))
    except AudioError as error:
        return error.reason


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("where", [2, 3, -2, -1])
@pytest.mark.parametrize("at", [0, 4, 5, 6, 14, 18, 22, 40, 200])
def test_a_flipped_bit_of_a_page_of_sound(kind: str, where: int, at: int) -> None:
    """In the capture pattern, version, flags, clock, serial number, number, checksum or sound."""
    data = bytearray(SOUND[kind])
    data[starts(bytes(data))[where] + at] ^= 0x10
    assert outcome(bytes(data)) == "corrupt"


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("where", [3, -3, -2])
def test_a_page_that_is_missing(kind: str, where: int) -> None:
    data = SOUND[kind]
    begin, end = starts(data)[where], starts(data)[where + 1]
    assert outcome(data[:begin] + data[end:]) == "corrupt"


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256), b""),
        (b"", b"TAG" + bytes(125)),
        (b"", bytes(100)),
        (b"", b"once upon a time" * 200),
        (b"", b"O"),
    ],
    ids=["ID3v2", "ID3v1", "zeros", "text", "one byte"],
)
def test_other_bytes_around_the_pages_are_no_damage(kind: str, before: bytes, after: bytes) -> None:
    data = SOUND[kind]
    np.testing.assert_array_equal(load(before + data + after), load(data))


@pytest.mark.parametrize("kind", SOUND)
def test_bytes_between_two_pages_that_follow_each_other(kind: str) -> None:
    data, at = SOUND[kind], starts(SOUND[kind])[4]
    np.testing.assert_array_equal(load(data[:at] + bytes(50) + data[at:]), load(data))


@pytest.mark.parametrize("kind", SOUND)
def test_a_recording_that_ends_in_a_page(kind: str) -> None:
    data = SOUND[kind]
    found = outcome(data[: starts(data)[-1] + 100])
    assert isinstance(found, int)
    assert 0 < found < len(NOISE)


@pytest.mark.parametrize("kind", SOUND)
def test_files_joined_end_to_end(kind: str) -> None:
    data = SOUND[kind]
    assert outcome(data + data) == pytest.approx(2 * len(NOISE), abs=400)
    at = starts(data)[-1] + 40
    assert outcome(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] + data) == "corrupt"


def joined(*parts: str) -> tuple[bytes, int]:
    """A chain of files, and its length in samples at 16 kHz."""
    return b"".join(LINKS[part] for part in parts), sum(len(load(LINKS[part])) for part in parts)


@pytest.mark.parametrize("parts", [*permutations(LINKS, 2), ("opus", "vorbis 2", "vorbis 22k", "opus 2", "vorbis")])
def test_links_of_several_kinds_are_decoded_one_by_one(parts: tuple[str, ...]) -> None:
    data, length = joined(*parts)
    assert outcome(data) == length
    np.testing.assert_array_equal(load(data), np.concatenate([load(LINKS[part]) for part in parts]))


def test_a_segment_in_a_later_link() -> None:
    data, length = joined("opus", "vorbis 2", "opus 2")
    whole = load(data)
    found = load(data, offset_samples=length - 9_000, num_samples=5_000)
    np.testing.assert_array_equal(found, whole[length - 9_000 : length - 4_000])


@pytest.mark.parametrize("parts", [("opus", "opus", "opus 2"), ("opus 2", "opus", "opus")])
def test_links_of_one_kind_among_others(parts: tuple[str, ...]) -> None:
    data, length = joined(*parts)
    assert outcome(data) == pytest.approx(length, abs=400)


@pytest.mark.parametrize("link", [0, 1, 2])
def test_damage_in_any_link_is_found(link: int) -> None:
    parts = ("opus", "vorbis 2", "opus 2")
    at = len(b"".join(LINKS[part] for part in parts[:link])) + len(LINKS[parts[link]]) * 3 // 4
    data = bytearray(joined(*parts)[0])
    data[at] ^= 0x10
    assert outcome(bytes(data)) == "corrupt"


@pytest.mark.parametrize("parts", [("opus", "opus 2"), ("vorbis 2", "vorbis"), ("opus", "vorbis")])
def test_a_channel_that_one_link_lacks(parts: tuple[str, ...]) -> None:
    data, _ = joined(*parts)
    if "opus 2" in parts or "vorbis 2" in parts:
        with pytest.raises(AudioError, match="there is no channel 1"):
            load(data, channel=1)
    load(data, channel=0)


def test_links_of_flac_of_several_rates_are_not_called_corrupt() -> None:
    files = [flac_in_ogg(rate) for rate in (16_000, 22_050)]
    assert outcome(b"".join(files)) == "unsupported"
    assert outcome(files[0] + files[0]) == 2 * 16_000


def flac_in_ogg(rate: int) -> bytes:
    """A second of noise."""
    file = BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("flac", rate=rate, layout="mono")
        noise = np.random.default_rng(1).integers(-2000, 2000, (1, rate), np.int16)
        frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def test_a_stream_that_is_recorded_from_its_middle() -> None:
    """Headers of number 0 and 1, then a page of number 900: the start of an internet radio's listener."""
    data = SOUND["vorbis"]
    assert damage_of(BytesIO(renumbered(data, first_sound=2, by=900))) is None
    assert damage_of(BytesIO(renumbered(data, first_sound=4, by=900))) is not None


def renumbered(data: bytes, first_sound: int, by: int) -> bytes:
    """Add to the numbers of the pages from `first_sound`, with right checksums."""
    pages = [data[begin:end] for begin, end in zip(starts(data), [*starts(data)[1:], len(data)], strict=True)]
    for index in range(first_sound, len(pages)):
        page = pages[index]
        number = unpack("<I", page[18:22])[0] + by
        page = page[:18] + pack("<I", number) + bytes(4) + page[26:]
        pages[index] = page[:22] + pack("<I", crc(page)) + page[26:]
    return b"".join(pages)


def crc(page: bytes) -> int:
    """Checksum of a page as RFC 3533 writes it, bit by bit."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


@pytest.mark.parametrize("size", [0, 1, 26, 27, 100])
def test_any_short_file(size: int) -> None:
    assert damage_of(BytesIO(b"OggS" + bytes(size))) in (None, "the checksum of the page at byte 0 is wrong")


def test_a_chain_of_another_tool(shared_data: Path) -> None:
    assert outcome((shared_data / "cases/ogg/chain_mono_stereo.opus").read_bytes()) == 48_000
