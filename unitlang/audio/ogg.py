"""Pages of Ogg files (RFC 3533): checksums and sequence numbers."""

import zlib

from unitlang.audio.statement import SeekableFile, little, read_at

_MAGIC = b"OggS"
_HEAD = 27
_BLOCK = 1 << 16
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FIRST = 2
"""Flag of the first page of a logical stream."""


def damage_of(file: SeekableFile) -> str | None:
    """Return the first fault of the pages; None if all are whole and none is missing.

    A last page that the end of the file cuts is no fault, because recordings end like that, and neither are bytes of
    something else after the last page. Numbers may jump from a stream's
    headers to its first page of sound, as in streams that were recorded from their middle.

    Args:
        file: an Ogg file; read from its start to its end, and left there.
    """
    numbers: dict[int, tuple[int, bool]] = {}  # by stream: number of its last page, and whether sound has come
    position = 0
    while len(head := read_at(file, position, _HEAD)) == _HEAD:
        if head[:4] != _MAGIC:
            return f"no page starts at byte {position}" if _page_follows(file, position) else None
        table = file.read(head[26])
        page = head + table + file.read(sum(table))
        if len(page) < _HEAD + head[26] + sum(table):
            return None
        if _checksum(page) != little(head[22:26]):
            return f"the checksum of the page at byte {position} is wrong"
        serial, number, has_sound = little(head[14:18]), little(head[18:22]), 0 < little(head[6:14]) < 1 << 63
        last, had_sound = numbers.get(serial, (number - 1, False))
        if number != last + 1 and had_sound and not head[5] & _FIRST:
            return f"pages {last + 1} to {number - 1} are missing before byte {position}"
        numbers[serial] = number, had_sound or has_sound
        position += len(page)
    return None


def _page_follows(file: SeekableFile, position: int) -> bool:
    """Return whether a page starts anywhere after a byte position."""
    while block := read_at(file, position, _BLOCK):
        if _MAGIC in block:
            return True
        if len(block) < _BLOCK:
            return False
        position += _BLOCK - len(_MAGIC) + 1
    return False


def _checksum(page: bytes) -> int:
    """CRC-32 of a page with its own checksum set to 0: polynomial 0x04C11DB7, from 0, no reflection.

    zlib computes the same polynomial reflected, from and to the complement.
    """
    blank = page[:22] + bytes(4) + page[26:]
    reflected = zlib.crc32(blank.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
