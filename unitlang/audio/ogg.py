"""Pages of Ogg files (RFC 3533): checksums, sequence numbers, and the links of a chain."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from unitlang.audio.statement import SeekableFile, little, read_at

_HEAD = 27
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FIRST, _LAST = 2, 4
"""Flags of the first and the last page of a logical stream."""

_SEARCHED_BYTES = 1 << 16


@dataclass(frozen=True)
class Link:
    """One of the files that a chained Ogg file consists of.

    Attributes:
        start: byte position of its first page.
        kind: codec, channels and rate of its streams, as their headers state them.
    """

    start: int
    kind: bytes


@dataclass
class _Stream:
    """State of one logical stream, as far as it has been read.

    Attributes:
        number: sequence number of its latest page.
        has_sound: whether a page after its headers has been read.
        is_over: whether the latest page is marked as the last.
    """

    number: int
    has_sound: bool = False
    is_over: bool = False


def damage_of(file: SeekableFile) -> str | None:
    """Return the first fault of the pages; None if all are whole and none is missing.

    Some things are no fault: a last page that the end of the file cuts (recordings end like that); numbers that jump
    from a stream's headers to its first page of sound (recordings of a running stream start like that); other bytes
    before the first page (tags), between two pages that follow each other, and after the last page of all streams.

    Args:
        file: an Ogg file; read from its start to its end, and left there.
    """
    streams: dict[int, _Stream] = {}
    position = 0
    for start, page in _pages(file):
        if _checksum(page) != little(page[22:26]):
            return f"the checksum of the page at byte {start} is wrong"
        missing = _missing(streams, page, joins=start == position)
        if missing is not None:
            return f"{missing} before byte {start}"
        position = start + len(page)
    is_over = all(stream.is_over for stream in streams.values())
    if not is_over and read_at(file, position, 1) and _find_page(file, position) is None:
        return f"no page starts at byte {position}, and the last one has not come"
    return None


def links(file: SeekableFile) -> list[Link]:
    """The links of an Ogg file, which are whole files one after the other (RFC 3533, section 4: chaining).

    Args:
        file: an Ogg file; read from its start to its end, and left there.
    """
    found: list[Link] = []
    before_is_first = False
    for start, page in _pages(file):
        is_first = bool(page[5] & _FIRST)
        if is_first:
            kind = _kind(page[_HEAD + page[26] :])
            if before_is_first:
                found[-1] = Link(found[-1].start, found[-1].kind + kind)
            else:
                found.append(Link(start, kind))
        before_is_first = is_first
    return found


def _kind(head: bytes) -> bytes:
    """Codec, channels and rate in the first packet of a stream, where they are known."""
    if head.startswith(b"OpusHead"):  # RFC 7845, section 5.1; it always decodes at 48 kHz
        return head[:8] + head[9:10]
    if head.startswith(b"\1vorbis"):  # Vorbis I, section 4.2.2
        return head[:7] + head[11:16]
    if head.startswith(b"\x7fFLAC"):  # RFC 9639, sections 8.2 and 10.1: 20 bits of the rate and 3 of the channels
        return head[:5] + head[27:29] + bytes([head[29] & 0xFE] if len(head) > 29 else [])
    return head[:8]


def _pages(file: SeekableFile) -> Iterator[tuple[int, bytes]]:
    """Yield the byte position and the bytes of each whole page, up to one that the end of the file cuts."""
    position = 0
    while (start := _find_page(file, position)) is not None:
        head = read_at(file, start, _HEAD)
        table = file.read(head[26]) if len(head) == _HEAD else b""
        page = head + table + file.read(sum(table))
        if len(page) < _HEAD or len(page) < _HEAD + head[26] + sum(table):
            return
        yield start, page
        position = start + len(page)


def _missing(streams: dict[int, _Stream], page: bytes, joins: bool) -> str | None:
    """Add a page to its stream; return which pages are missing before it, None if none is.

    Args:
        streams: the streams so far, by their serial number.
        page: the next page.
        joins: whether no other bytes lie between it and the page before.
    """
    serial, number, is_first = little(page[14:18]), little(page[18:22]), bool(page[5] & _FIRST)
    stream = streams.get(serial)
    if stream is None or is_first:
        stream = streams[serial] = _Stream(number - 1)
    expected = stream.number + 1
    jumps = number != expected and (stream.has_sound or not joins)
    stream.number, stream.is_over = number, bool(page[5] & _LAST)
    stream.has_sound = stream.has_sound or 0 < little(page[6:14]) < 1 << 63
    return f"pages {expected} to {number - 1} are missing" if jumps else None


def _find_page(file: SeekableFile, position: int) -> int | None:
    """Byte position of the next page at or after `position`; None if there is none."""
    if read_at(file, position, 4) == b"OggS":
        return position
    while data := read_at(file, position, _SEARCHED_BYTES):
        found = data.find(b"OggS")
        if found >= 0:
            return position + found
        if len(data) < 4:
            return None
        position += len(data) - 3
    return None


def _checksum(page: bytes) -> int:
    """CRC-32 of a page with its own checksum set to 0: polynomial 0x04C11DB7, from 0, no reflection.

    zlib computes the same polynomial reflected, from and to the complement.
    """
    blank = page[:22] + bytes(4) + page[26:]
    reflected = zlib.crc32(blank.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
