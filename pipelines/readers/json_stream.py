"""Read the values of a large JSON file one at a time; memory is bounded by the largest value."""

import codecs
import json
from collections.abc import Iterator
from io import BufferedReader
from typing import Any, cast

from pipelines.errors import UserError
from pipelines.readers.lines import open_plain, parse_object, read_lines
from pipelines.readers.places import Place

CHUNK_BYTES = 1 << 20
NUMBER_REST = 3
"""Characters that must follow a number in the window, else it may continue in the next chunk: `1e+5` cut to `1e+`."""
MAX_VALUE_CHARS = 64 << 20
"""Longest single value; with a longer one the file counts as broken."""

_DECODER = json.JSONDecoder()


class BrokenJsonError(UserError):
    """The JSON of a file is broken."""


def read_values(place: Place) -> Iterator[Any]:
    """Yield the elements of one or several JSON arrays, or the values of a file that does not start with an array.

    A file that is one object is one value, which must fit into `MAX_VALUE_CHARS`.

    Raises:
        BrokenJsonError: the JSON is broken, and the values after it cannot be separated.
        UserError: there is no readable file.
    """
    with open_plain(place) as file:
        text = _Buffer(file, place.uri)
        if text.peek() != "[":
            while text.peek():
                yield text.value()
            return
        while text.peek() == "[":
            yield from _elements(text)
        if text.peek():
            raise text.broken("only another array may follow an array")


def read_records(place: Place) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield position and object, or the message of its fault, of a file with one object a line or arrays of objects.

    Raises:
        BrokenJsonError: the JSON of an array is broken.
        UserError: there is no readable file, or it holds one object over several lines.
    """
    with open_plain(place) as file:
        start = file.read(CHUNK_BYTES).removeprefix(codecs.BOM_UTF8).lstrip()
    yield from read_elements(place) if start.startswith(b"[") else _read_objects(place)


def read_elements(place: Place) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield position and object, or the message of its fault, of the values of `read_values`.

    Raises:
        UserError: as `read_values`.
    """
    for position, value in enumerate(read_values(place)):
        known = isinstance(value, dict)
        record = cast("dict[str, Any]", value) if known else f"not a JSON object: {str(value)[:80]!r}"
        yield f"{place.uri}[{position}]", record


def read_object_lines(place: Place) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield position and object, or the message of its fault, of the lines that are not blank.

    Raises:
        UserError: there is no readable file.
    """
    for line in read_lines(place):
        if line.fault or line.text.strip():
            yield f"{place.uri}:{line.number}", line.fault or parse_object(line.text)


def _read_objects(place: Place) -> Iterator[tuple[str, dict[str, Any] | str]]:
    first = next((line.text.strip() for line in read_lines(place) if line.text.strip()), "")
    if first.startswith("{") and first.endswith(("{", "[", ",")):
        raise UserError(
            f"{place.uri}: one JSON object over several lines; write one object a line, or an array of them"
        )
    yield from read_object_lines(place)


def _elements(text: "_Buffer") -> Iterator[Any]:
    """Yield the elements of the array that starts here, and move past it."""
    text.position += 1
    first = True
    while (character := text.peek()) != "]":
        if not character:
            raise text.broken("the file ends inside the array")
        if not first:
            if character != ",":
                raise text.broken("expected ',' or ']'")
            text.position += 1
        yield text.value()
        first = False
    text.position += 1


class _Buffer:
    """A window on the file's text; `position` is the next character to read."""

    def __init__(self, file: BufferedReader, uri: str) -> None:
        self.file = file
        self.uri = uri
        self.text = ""
        self.position = 0
        self.passed = 0  # characters of the file before the window
        self.decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self.ended = False

    def fill(self, num_bytes: int) -> None:
        """Drop the text that was read and append at most `num_bytes` of the file."""
        chunk = self.file.read(num_bytes)
        self.ended = not chunk
        try:
            more = self.decode(chunk, self.ended)
        except UnicodeDecodeError as error:
            raise self.broken(f"not UTF-8: {error}") from None
        self.passed += self.position
        self.text = self.text[self.position :] + more
        self.position = 0

    def peek(self) -> str:
        """Return the next character that is not white space; empty at the end of the file."""
        while True:
            while self.position < len(self.text):
                if not self.text[self.position].isspace():
                    return self.text[self.position]
                self.position += 1
            if self.ended:
                return ""
            self.fill(CHUNK_BYTES)

    def value(self) -> Any:
        """Return the next JSON value."""
        self.peek()
        while True:
            fault = "the file ends inside a value"
            try:
                value, end = _DECODER.raw_decode(self.text, self.position)
                if end + NUMBER_REST <= len(self.text) or self.ended:
                    self.position = end
                    return value
            except (ValueError, RecursionError) as error:
                fault = str(error)
            if self.ended or len(self.text) - self.position > MAX_VALUE_CHARS:
                raise self.broken(fault)
            self.fill(max(CHUNK_BYTES, len(self.text)))  # doubling: a value is parsed again only a few times

    def broken(self, fault: str) -> BrokenJsonError:
        return BrokenJsonError(f"{self.uri}: not valid JSON after character {self.passed + self.position}: {fault}")
