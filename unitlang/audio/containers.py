"""Exact audio lengths, read from container headers.

FFmpeg does not report that a file was cut: it clamps the stated length to the file. A length that the writer left open
(a WAV written to a pipe) or an estimate (file size over bit rate) counts as None.
"""

import re
from collections.abc import Callable

from unitlang.audio.riff import w64, wav
from unitlang.audio.statement import NOTHING, SeekableFile, Statement, fixed_size, is_placeholder
from unitlang.audio.statement import big as _big
from unitlang.audio.statement import read_at as _at

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
"""FFmpeg's name of the MP4 family."""

_MP3_DECODER_DELAY = 529
"""Samples by which an MP3 decoder is late."""

_LEAST_FLAC_FRAME = 10
"""Bytes of the shortest FLAC frame (RFC 9639, section 9): a header of 6, a constant subframe of 2, a footer of 2."""

_LEAST_MP3_BYTES = 24 / 576
"""Fewest bytes of a sample in MP3: frames of 24 bytes, for 8 kbit/s at 24 kHz (ISO 13818-3), hold 576 samples."""

_LEAST_SPHERE_BYTES = 1 / 16
"""Fewest bytes of a sample in SPHERE: compression by Shorten keeps one bit of most samples at least."""


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
    start = block = 0
    while len(head := _at(file, position, 8)) == 8:
        name, size, body = head[:4], _big(head[4:]), position + 8
        if name == b"COMM":
            comm = _at(file, body, 22)
            if not compressed or comm[18:22] in fixed:
                samples, block = _big(comm[2:6]), _big(comm[:2]) * -(-_big(comm[6:8]) // 8)
                samples = None if is_placeholder(samples * block) else samples
        elif name == b"SSND":
            start = body + 8 + _big(_at(file, body, 4))
            end = None if is_placeholder(size) else body + size
        position = body + size + size % 2
    return Statement(samples or None, end, start, block, block)


def _au(file: SeekableFile) -> Statement:
    """Sun/NeXT .snd: the encoding's number gives the sample size; a data size of 0xFFFFFFFF is unknown."""
    widths = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
    start, size, encoding, _, channels = (_big(_at(file, i, 4)) for i in range(4, 24, 4))
    return NOTHING if is_placeholder(size) else fixed_size(size, start, widths.get(encoding, 0) * channels)


def _caf(file: SeekableFile) -> Statement:
    """Apple Core Audio Format: `desc` gives bytes and samples per packet, `data` its size (-1: unknown)."""
    block, position = 0, 8
    while len(head := _at(file, position, 12)) == 12:
        name, size, body = head[:4], _big(head[4:]), position + 12
        if name == b"desc":
            desc = _at(file, body, 32)
            block = _big(desc[16:20]) if _big(desc[20:24]) == 1 else 0
        elif name == b"data":
            return fixed_size(size - 4, body + 4, block) if 4 < size < 1 << 63 else NOTHING
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
    longest_frame = _big(head[10:12])
    least_bytes = _LEAST_FLAC_FRAME / longest_frame if longest_frame else 0.0
    return Statement(_big(head[18:26]) & 0xFFFFFFFFF or None, least_bytes=least_bytes)


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
    return Statement(max(0, num_frames * samples_per_frame - skipped) or None, least_bytes=_LEAST_MP3_BYTES)


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
    return Statement(int(found[1]) or None, least_bytes=_LEAST_SPHERE_BYTES) if found else NOTHING


_READERS: dict[str, Callable[[SeekableFile], Statement]] = {
    "wav": wav,
    "w64": w64,
    "aiff": _aiff,
    "au": _au,
    "caf": _caf,
    "flac": _flac,
    "mp3": _mp3,
    MP4: _mp4,
    "nistsphere": _sphere,
}
