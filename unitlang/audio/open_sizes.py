"""Headers that leave the size of their samples open in a way that FFmpeg refuses, read with sizes that it takes.

A recorder that was killed, or one that writes to a pipe, leaves 0, -1 or the largest number. FFmpeg knows some of these
in some containers. Files that it reads as they are are not touched.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from struct import pack

from unitlang.audio.riff import riff_chunks, w64_chunks
from unitlang.audio.sources import EncodedFile, Restated
from unitlang.audio.statement import big, is_placeholder, little, read_at

_UNKNOWN_32 = 0xFFFFFFFF
"""Size that FFmpeg takes for an unknown one in AU and AIFF."""
_UNKNOWN_64 = (1 << 64) - 1
"""The same in CAF."""
_HUGE = (1 << 63) - (1 << 40)
"""Sizes from here on are beyond any file: FFmpeg takes them for negative, or their end for one."""
_LEAST_W64 = 80
"""Smallest size of a W64 that FFmpeg takes: five chunk heads of 16 bytes."""
_MOST_CHUNKS = 1000
"""Chunks that are looked at; sound lies behind fewer."""
_HEAD = 24
"""Bytes of the head of a W64 chunk, which its size counts."""

Patches = Iterator[tuple[int, bytes]]
"""Byte positions, and what to read there."""


def with_sizes(file: EncodedFile) -> EncodedFile:
    """The file, at its start; if FFmpeg would refuse the sizes in its header, with others.

    Args:
        file: encoded audio; its position changes.
    """
    patches = _PATCHES.get(read_at(file, 0, 4))
    found = dict(patches(file)) if patches else {}
    file.seek(0)
    return Restated(file, found) if found else file


def _au(file: EncodedFile) -> Patches:
    size = big(read_at(file, 8, 4))
    if size == 0 or 1 << 31 <= size < _UNKNOWN_32:
        yield 8, pack(">I", _UNKNOWN_32)


def _w64(file: EncodedFile) -> Patches:
    if little(read_at(file, 16, 8)) < _LEAST_W64:
        yield 16, pack("<Q", file.size)
    for name, size, body, _ in islice(w64_chunks(file), _MOST_CHUNKS):
        if name == b"data":
            if size >= _HUGE or (size <= _HEAD and _has_sound(file, body)):
                yield body - 8, pack("<Q", file.size - body + _HEAD)
            return


def _rf64(file: EncodedFile) -> Patches:
    """RF64 and BW64: of the sizes, those in `ds64` count."""
    wide = 0
    for name, size, body, _ in islice(riff_chunks(file), _MOST_CHUNKS):
        if name == b"ds64":
            wide = body
        elif name == b"data":
            stated = little(read_at(file, wide + 8, 8))
            if wide and (stated >= 1 << 63 or (stated == 0 and _has_sound(file, body))):
                known = None if is_placeholder(size) else size
                yield wide + 8, pack("<Q", known or file.size - body)
            break
    if wide:
        yield from ((at, bytes(8)) for at in (wide, wide + 16) if little(read_at(file, at, 8)) >= 1 << 63)


def _aiff(file: EncodedFile) -> Patches:
    if big(read_at(file, 4, 4)) == 0:
        yield 4, pack(">I", _UNKNOWN_32)
    for name, size, body in _chunks(file, 12, width=4):
        if name == b"SSND":
            if size == 0 and _has_sound(file, body + 8):
                yield body - 4, pack(">I", _UNKNOWN_32)
            return


def _caf(file: EncodedFile) -> Patches:
    for name, size, body in _chunks(file, 8, width=8):
        if name == b"data":
            if _HUGE <= size < 1 << 63:
                yield body - 8, pack(">Q", _UNKNOWN_64)
            return


def _chunks(file: EncodedFile, position: int, *, width: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, stated size of `width` bytes, and position of the contents of the chunks of AIFF (even ones) and CAF."""
    for _ in range(_MOST_CHUNKS):
        head = read_at(file, position, 4 + width)
        if len(head) < 4 + width:
            return
        size, body = big(head[4:]), position + 4 + width
        yield head[:4], size, body
        position = body + size + (size % 2 if width == 4 else 0)


def _has_sound(file: EncodedFile, body: int) -> bool:
    """Whether bytes that are not the name of another chunk follow an empty one: then its size was left open."""
    name = read_at(file, body, 4)
    return bool(name) and not all(0x20 <= byte < 0x7F for byte in name)


_PATCHES: Mapping[bytes, Callable[[EncodedFile], Patches]] = {
    b".snd": _au,
    b"riff": _w64,
    b"RF64": _rf64,
    b"BW64": _rf64,
    b"FORM": _aiff,
    b"caff": _caf,
}
