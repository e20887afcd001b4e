"""Read the lines of text files one at a time; the fault of a line does not affect the others."""

import json
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from gzip import BadGzipFile, GzipFile
from io import BufferedReader
from typing import Any, cast

from pipelines.errors import UserError
from pipelines.readers.places import Place

MAX_LINE_BYTES = 16 << 20
"""A longer line is refused instead of held in memory."""


@dataclass(frozen=True)
class Line:
    """One line of a text file.

    Attributes:
        number: from 1.
        text: without its line end; empty if the line has a fault.
        fault: the reason why the line cannot be read, for a person; None for a good line.
    """

    number: int
    text: str
    fault: str | None = None


def read_lines(place: Place) -> Iterator[Line]:
    """Yield the lines of a UTF-8 file (a byte order mark is skipped), unpacked if its name ends in `.gz`.

    Raises:
        UserError: there is no readable file, or its gzip is damaged.
    """
    with open_plain(place) as file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES):
            number += 1
            if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
                while rest := file.readline(MAX_LINE_BYTES):
                    if rest.endswith(b"\n"):
                        break
                yield Line(number, "", f"the line is longer than {MAX_LINE_BYTES >> 20} MiB")
                continue
            yield _decode(number, raw)


@contextmanager
def open_plain(place: Place) -> Generator[BufferedReader]:
    """Open a file's bytes, unpacked if its name ends in `.gz`.

    Raises:
        UserError: there is no readable file, or its gzip is damaged.
    """
    with place.open() as packed:
        if not place.name.endswith(".gz"):
            yield packed
            return
        try:
            with GzipFile(fileobj=packed) as file:
                yield BufferedReader(cast(Any, file), buffer_size=1 << 20)
        except (BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{place.uri}: damaged gzip: {error}") from error


def read_text(place: Place) -> str:
    """Return the whole of a small UTF-8 text file, stripped.

    Raises:
        ValueError: it is not UTF-8 or longer than `MAX_LINE_BYTES`.
        UserError: there is no readable file.
    """
    with place.open() as file:
        raw = file.read(MAX_LINE_BYTES + 1)
    check_length(len(raw))
    return raw.decode("utf-8-sig").strip()


def fetch_text(place: Place) -> str:
    """`read_text` by one request; only for a file whose listed length was checked.

    Raises:
        ValueError: it is not UTF-8.
        UserError: there is no readable file.
    """
    return place.whole().decode("utf-8-sig").strip()


def check_length(size: int) -> None:
    """Refuse a text file of more than `MAX_LINE_BYTES` bytes.

    Raises:
        ValueError: it is too long.
    """
    if size > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES >> 20} MiB")


def unusable_text(error: ValueError) -> tuple[str, str]:
    """Reason and message of the reject of an entry whose text cannot be used."""
    return "bad_text", f"the text is unusable: {error}"


def parse_object(text: str) -> dict[str, Any] | str:
    """Return the JSON object of a line, or the message of its fault."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"not valid JSON: {error}"
    return cast("dict[str, Any]", value) if isinstance(value, dict) else f"not a JSON object: {text[:80]!r}"


def _decode(number: int, raw: bytes) -> Line:
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return Line(number, "", f"the line is not UTF-8 (byte {error.start} of the line)")
    return Line(number, text.rstrip("\r\n"))
