"""The length that a container states, and how far a file may differ from it."""

from dataclasses import dataclass, replace
from typing import Protocol


class SeekableFile(Protocol):
    """The file methods that readers of headers need."""

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
        start: byte position at which that data starts, if samples have a fixed size.
        block: bytes of one sample of all channels; 0 if samples have no fixed size.
        least_bytes: fewest bytes that one sample of all channels can take; 0 if nothing is known about it.
    """

    num_samples: int | None = None
    end: int | None = None
    start: int = 0
    block: int = 0
    least_bytes: float = 0.0


NOTHING = Statement()

_ROUND = 100_000_000, 1 << 24
"""Writers that do not know a length yet state a round number of bytes or samples: 2 * 10^9, 2^31, 0x7F000000, ...

One in 5 million true lengths is a multiple of either.
"""
_HEADS = 0, 4, 8, 24
"""Bytes that a stated size may count besides samples: CAF's number of edits, AIFF's offsets, a W64 chunk's head."""
_LARGEST = 1 << 48
"""A larger 64-bit size (281 TB) is a placeholder too."""


def fixed_size(size: int, start: int, block: int) -> Statement:
    """Statement of `size` bytes from `start` in blocks of `block` bytes (0: compressed, only the end is known)."""
    if size >= _LARGEST:
        return NOTHING
    return Statement(size // block if block else None, start + size, start, block, block)


def is_placeholder(size: int) -> bool:
    """Return whether a 32-bit size stands for an unknown one: 0, or just below 2^31 or 2^32."""
    return size == 0 or (size & 0x7FFFFFFF) >= 0x7FFFF000


def settled(statement: Statement, file_size: int, rate: int) -> Statement:
    """Compare a statement with the file; return what can be relied on.

    A file that lacks some of its stated bytes is truncated, with two exceptions: the stated length is a round number,
    which some writers put there before they know the length, or less than 10 ms are missing, which no player minds
    (writers count their header as data, or one sample too many).

    Args:
        statement: the length stated in samples of a fixed size.
        file_size: bytes of the file.
        rate: samples per second.
    """
    end, start, block = statement.end, statement.start, statement.block
    if end is None or end <= file_size or not block:
        return statement
    size = end - start
    if _is_open(size) or any(length % number == 0 for length in (size, size // block) for number in _ROUND):
        return NOTHING
    if start < file_size and end - file_size < max(block, rate * block // 100):
        held = (file_size - start) // block
        return replace(statement, num_samples=min(statement.num_samples or held, held), end=file_size)
    return statement


def _is_open(size: int) -> bool:
    """Whether a size, with what it may count besides samples, is one that 32 bits leave open, perhaps in 64 bits."""
    stated = [size + head for head in _HEADS]
    return any(number == 1 << 31 or (number < 1 << 32 and is_placeholder(number)) for number in stated)


def read_at(file: SeekableFile, position: int, size: int) -> bytes:
    """Return up to `size` bytes from `position`; none if a damaged header points beyond any file."""
    if position >= 1 << 62:
        return b""
    file.seek(position)
    return file.read(size)


def little(data: bytes) -> int:
    """Unsigned little-endian number."""
    return int.from_bytes(data, "little")


def big(data: bytes) -> int:
    """Unsigned big-endian number."""
    return int.from_bytes(data, "big")
