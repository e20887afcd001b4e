"""Exact audio lengths, read from container headers.

FFmpeg does not report that a file was cut: it clamps the stated length to the file. A length that the writer left open
(a WAV written to a pipe) or an estimate (file size over bit rate) counts as None.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
"""FFmpeg's name of the MP4 family."""


class SeekableFile(Protocol):
    """The file methods that this module needs."""

    def seek(self, position: int, /) -> int:
        """Move to a byte position."""
        ...

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""
        ...


@dataclass(frozen=True)
class Statement:
    """The length that a container states.

    Attributes:
        num_samples: samples per channel at the native rate; None if the header states no exact number.
        end: byte position at which the stated audio data ends; a shorter file is truncated.
    """

    num_samples: int | None = None
    end: int | None = None


NOTHING = Statement()


def read_statement(file: SeekableFile, format_name: str) -> Statement:
    """Read the length that the header of `file` states; reads few bytes, whatever the header claims.

    Args:
        file: a seekable binary file; its position changes.
        format_name: FFmpeg's name of the container (`wav`, `flac`, ...), detected from the content.

    Returns:
        The statement; `Statement()` if the format states no length or the header is damaged.
    """
    reader = _READERS.get(format_name)
    return reader(file) if reader else NOTHING


def has_audio_magic(head: bytes) -> bool:
    """Return whether `head` (at least the first 16 bytes) begins like a known audio file."""
    magics = (
        b"RIFF",
        b"RIFX",
        b"RF64",
        b"BW64",
        b"riff",
        b"FORM",
        b".snd",
        b"caff",
        b"fLaC",
        b"OggS",
        b"ID3",
    )
    return head.startswith((*magics, b"NIST_1A", b"\x1aE\xdf\xa3")) or head[4:8] == b"ftyp"


def _at(file: SeekableFile, position: int, size: int) -> bytes:
    """Return up to `size` bytes from `position`; none if a damaged header points beyond any file."""
    if position >= 1 << 62:
        return b""
    file.seek(position)
    return file.read(size)


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


_PCM_TAGS = (1, 3, 6, 7)
"""WAVE format tags of fixed-size samples: PCM, IEEE float, A-law, mu-law (RFC 2361)."""

_EXTENSIBLE = 0xFFFE

_MP3_DECODER_DELAY = 529
"""Samples by which an MP3 decoder is late."""


def _is_placeholder(size: int) -> bool:
    """Return whether a 32-bit size is a placeholder of a writer that did not know it: 0, or just below 2^31 or 2^32."""
    return size == 0 or (size & 0x7FFFFFFF) >= 0x7FFFF000


def _fixed_size_block(fmt: bytes) -> int:
    """Bytes of one sample of all channels, from a WAVE `fmt ` chunk; 0 if compressed or implausible."""
    tag, channels, block, bits = (_little(fmt[i : i + 2]) for i in (0, 2, 12, 14))
    if tag == _EXTENSIBLE:
        tag = _little(fmt[24:26])
    return block if tag in _PCM_TAGS and block and block == channels * -(-bits // 8) else 0


def _wav(file: SeekableFile) -> Statement:
    """RIFF/WAVE and its 64-bit forms (RF64, BW64: EBU Tech 3306), which keep the data size in `ds64`."""
    wide, block, position = 0, 0, 12
    if _at(file, 0, 4) == b"RIFX":
        return NOTHING
    while len(head := _at(file, position, 8)) == 8:
        name, size, body = head[:4], _little(head[4:]), position + 8
        if name == b"ds64":
            wide = _little(_at(file, body + 8, 8))
        elif name == b"fmt ":
            block = _fixed_size_block(_at(file, body, 40))
        elif name == b"data":
            size = wide if size == 0xFFFFFFFF and 0 < wide < 1 << 63 else size
            return NOTHING if size < 1 << 32 and _is_placeholder(size) else _pcm(size, body, block)
        position = body + size + size % 2
    return NOTHING


def _pcm(size: int, start: int, block: int) -> Statement:
    """Statement of `size` bytes from `start` in blocks of `block` bytes (0: compressed, only the end is known)."""
    return Statement(size // block if block else None, start + size)


def _w64(file: SeekableFile) -> Statement:
    """Sony Wave64: 16-byte GUIDs, 64-bit sizes that include the 24-byte chunk head, chunks aligned to 8."""
    block, position = 0, 40
    while len(head := _at(file, position, 24)) == 24:
        name, size, body = head[:4], _little(head[16:]), position + 24
        if name == b"fmt ":
            block = _fixed_size_block(_at(file, body, 40))
        elif name == b"data":
            return _pcm(size - 24, body, block) if 24 < size < 1 << 63 else NOTHING
        position += max(24, -(-size // 8) * 8)
    return NOTHING


def _aiff(file: SeekableFile) -> Statement:
    """AIFF and AIFF-C: the COMM chunk counts sample frames, exactly if samples have a fixed size."""
    fixed = (
        b"NONE",
        b"twos",
        b"sowt",
        b"raw ",
        b"in24",
        b"in32",
        b"fl32",
        b"FL32",
        b"fl64",
        b"FL64",
        b"ulaw",
        b"alaw",
    )
    compressed, samples, end, position = _at(file, 8, 4) == b"AIFC", None, None, 12
    while len(head := _at(file, position, 8)) == 8:
        name, size, body = head[:4], _big(head[4:]), position + 8
        if name == b"COMM":
            comm = _at(file, body, 22)
            samples = _big(comm[2:6]) if not compressed or comm[18:22] in fixed else None
        elif name == b"SSND":
            end = None if _is_placeholder(size) else body + size
        position = body + size + size % 2
    return Statement(samples or None, end)


def _au(file: SeekableFile) -> Statement:
    """Sun/NeXT .snd: the encoding's number gives the sample size; a data size of 0xFFFFFFFF is unknown."""
    widths = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
    start, size, encoding, _, channels = (_big(_at(file, i, 4)) for i in range(4, 24, 4))
    return NOTHING if _is_placeholder(size) else _pcm(size, start, widths.get(encoding, 0) * channels)


def _caf(file: SeekableFile) -> Statement:
    """Apple Core Audio Format: `desc` gives bytes and samples per packet, `data` its size (-1: unknown)."""
    block, position = 0, 8
    while len(head := _at(file, position, 12)) == 12:
        name, size, body = head[:4], _big(head[4:]), position + 12
        if name == b"desc":
            desc = _at(file, body, 32)
            block = _big(desc[16:20]) if _big(desc[20:24]) == 1 else 0
        elif name == b"data":
            return _pcm(size - 4, body + 4, block) if 4 < size < 1 << 63 else NOTHING
        position = body + size
    return NOTHING


def _skip_id3(file: SeekableFile) -> int:
    """Byte position after the ID3v2 tags at the start (sizes are 4 x 7 bits)."""
    position = 0
    while (head := _at(file, position, 10))[:3] == b"ID3" and len(head) == 10:
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        position += 10 + size + (10 if head[5] & 0x10 else 0)
    return position


def _flac(file: SeekableFile) -> Statement:
    """FLAC: the lower 36 bits of bytes 10-17 of STREAMINFO (RFC 9639, sec. 8.2); 0 means unknown."""
    head = _at(file, _skip_id3(file), 26)
    if len(head) < 26 or head[:4] != b"fLaC" or head[4] & 0x7F:
        return NOTHING
    return Statement(_big(head[18:26]) & 0xFFFFFFFFF or None)


def _mp3(file: SeekableFile) -> Statement:
    """MP3 with a Xing/Info frame by LAME or FFmpeg: frames x samples per frame - encoder delay and padding.

    Other writers are not known to count alike. FFmpeg drops the decoder's own delay of 529 samples at the start and
    restores it at the end (libavformat/mp3dec.c). If another MP3 stream follows the bytes that the frame counts, files
    were joined and the frame describes the first only.
    """
    start = _skip_id3(file)
    head = _at(file, start, 256)
    if len(head) < 256 or not _is_layer3(head):
        return NOTHING
    is_mpeg1, is_mono = head[1] & 0x18 == 0x18, head[3] & 0xC0 == 0xC0
    side_info_bytes = (17 if is_mono else 32) if is_mpeg1 else (9 if is_mono else 17)
    tag = head[4 + side_info_bytes :]
    name, flags, writer = tag[:4], tag[7], tag[120:124]
    has_frames_bytes_and_toc = flags & 7 == 7
    if name not in (b"Xing", b"Info") or not has_frames_bytes_and_toc or writer not in (b"LAME", b"Lavf", b"Lavc"):
        return NOTHING
    num_frames, num_bytes = _big(tag[8:12]), _big(tag[12:16])
    if not num_frames or _starts_mp3(_at(file, start + num_bytes, 3)):
        return NOTHING
    delay, padding = divmod(_big(tag[141:144]), 1 << 12)  # 12 bits each
    samples_per_frame = 1152 if is_mpeg1 else 576
    skipped = delay + _MP3_DECODER_DELAY + max(0, padding - _MP3_DECODER_DELAY)
    return Statement(max(0, num_frames * samples_per_frame - skipped) or None)


def _is_layer3(head: bytes) -> bool:
    """Return whether `head` begins with the sync bits and the layer of an MPEG audio layer III frame."""
    return head[0] == 0xFF and head[1] & 0xE6 == 0xE2


def _starts_mp3(data: bytes) -> bool:
    """Return whether `data` begins with an ID3 tag or the sync bits of an MPEG audio frame."""
    return data == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0)


def _mp4(file: SeekableFile) -> Statement:
    """MP4: encoder padding makes its lengths inexact, but a media data box must lie inside the file."""
    position = 0
    while len(head := _at(file, position, 16)) >= 8:
        size = _big(head[8:16]) if head[:4] == b"\0\0\0\1" else _big(head[:4])
        if head[4:8] == b"mdat" and size:
            return Statement(None, position + size)
        if size < 8:
            return NOTHING
        position += size
    return NOTHING


def _sphere(file: SeekableFile) -> Statement:
    """NIST SPHERE: a text header with `sample_count -i N`."""
    found = re.search(rb"\bsample_count -i (\d{1,15})\b", _at(file, 0, 1024))
    return Statement(int(found[1]) or None) if found else NOTHING


_READERS: dict[str, Callable[[SeekableFile], Statement]] = {
    "wav": _wav,
    "w64": _w64,
    "aiff": _aiff,
    "au": _au,
    "caf": _caf,
    "flac": _flac,
    "mp3": _mp3,
    MP4: _mp4,
    "nistsphere": _sphere,
}
