"""Segments that rows and records state: which part of its audio file an utterance is."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

from pipelines.readers.parquet_audio import fetch, is_parquet_uri
from pipelines.readers.places import reading
from pipelines.readers.rows.fields import get_number
from pipelines.readers.rows.names import Part, Time, Unit, time_columns
from unitlang.audio.reading import measure
from unitlang.errors import AudioError
from unitlang.frames import SAMPLE_RATE

T = TypeVar("T")

AGREE = SAMPLE_RATE // 10
"""Two statements of one time may differ by 0.1 s, because sources round."""
PROBED = 16
"""Rows of a source whose audio is measured at most, to find out whether its files are cut already."""
SCALES: Mapping[Unit, float] = {"seconds": SAMPLE_RATE, "milliseconds": SAMPLE_RATE / 1000, "samples": 1}
_REMEDY = "name the wrong one in `ignore_columns` of the source"


@dataclass(frozen=True)
class Segment:
    """A part of an audio file.

    Attributes:
        offset: its first sample.
        length: its length in samples; None = to the end of the file.
        native: offset and length count samples at the file's own rate instead of 16 kHz.
        placed: the source states where the segment starts or ends, not only how long it is.
    """

    offset: int = 0
    length: int | None = None
    native: bool = False
    placed: bool = False

    def at_16k(self, rate: int) -> "Segment":
        """Return the segment in samples at 16 kHz; `rate` is that of the file, in Hz."""
        if not self.native:
            return self
        start = round(self.offset * SAMPLE_RATE / rate)
        if self.length is None:
            return replace(self, offset=start, native=False)
        end = round((self.offset + self.length) * SAMPLE_RATE / rate)
        return replace(self, offset=start, length=end - start, native=False)


WHOLE = Segment()
OLD_NAMES = frozenset({"offset", "start", "duration", "end"})
"""Names in seconds that a manifest's rows are cut by, whatever the length of their audio."""


def get_segment(record: Mapping[str, Any], names: Collection[str] | None = None) -> Segment:
    """Return the segment that the columns of a record state.

    If both samples and seconds are stated, those count that state both a place and a length.

    Args:
        record: the record.
        names: columns to use; None = all columns of known names.

    Raises:
        ValueError: a value is invalid, the columns contradict each other or mix units, or the segment is empty.
    """
    columns = time_columns(record if names is None else [name for name in record if name in names])
    clock = _parts(record, columns, ("seconds", "milliseconds"))
    samples = _parts(record, columns, ("samples",))
    native = _completeness(samples) > _completeness(clock)
    parts, others = (samples, clock) if native else (clock, samples)
    if parts and others and _completeness(parts) == 1 and _completeness(parts | others) > 1:
        names_of = ", ".join(repr(name) for name, _ in [*parts.values(), *others.values()])
        raise ValueError(f"fields {names_of} count in different units; state place and length in one")
    return _segment(parts, native)


def _completeness(parts: Collection[Part]) -> int:
    """Return how much is stated: 2 with place and length, 1 with one of them."""
    return ("start" in parts or "end" in parts) + ("end" in parts or "duration" in parts)


def _parts(
    record: Mapping[str, Any], columns: Mapping[str, Time], units: Collection[Unit]
) -> dict[Part, tuple[str, int]]:
    """Return name and value, in samples, of each part that the columns of some units state."""
    found: dict[Part, tuple[str, int]] = {}
    tolerance = 0 if "samples" in units else AGREE
    for name in sorted(columns, key=lambda name: name not in ("offset", "start", "duration", "end")):
        part, unit = columns[name].part, columns[name].unit
        if unit not in units or (value := get_number(record, name, unit, SCALES[unit])) is None:
            continue
        other, known = found.setdefault(part, (name, value))
        if abs(known - value) > tolerance:
            raise ValueError(
                f"fields {other!r} and {name!r} contradict each other; name the wrong one in ignore_columns"
            )
    return found


def _segment(parts: Mapping[Part, tuple[str, int]], native: bool) -> Segment:
    values = {part: value for part, (_, value) in parts.items()}
    offset, length = values.get("start", 0), values.get("duration")
    if "end" in values:
        until_end = values["end"] - offset
        if length is None:
            length = until_end
        elif abs(length - until_end) > AGREE:
            names = ", ".join(name for name, _ in parts.values())
            raise ValueError(f"fields {names} contradict each other; {_REMEDY}")
    if length is not None and length <= 0:
        raise ValueError(f"the segment is empty: {length} samples from sample {offset} on")
    return Segment(offset, length, native, "start" in parts or "end" in parts)


def look_ahead(rows: Iterator[T]) -> tuple[list[T], Iterator[T]]:
    """Return the first `PROBED` rows, fewer if the source breaks off before, and all rows; a fault keeps its place."""
    head: list[T] = []
    faults: list[Exception] = []
    try:
        for row in islice(rows, PROBED):
            head.append(row)
    except Exception as error:  # whatever it is, it is raised again after the rows before it
        faults.append(error)

    def everything() -> Iterator[T]:
        yield from head
        for fault in faults:
            raise fault
        yield from rows

    return head, everything()


def are_cut(rows: Iterable[tuple[Mapping[str, Any], str | None]], trusted: Collection[str] = ()) -> bool:
    """Return whether audio files are the segments themselves, so that the stated times are those of other recordings.

    The first row that can tell decides: its audio is as long as its segment, which begins elsewhere (cut); or the
    segment is a part of the audio (not cut). If none of the first `PROBED` rows can tell, lengths without a place are
    those of whole files, and other segments are cut from the files.

    Args:
        rows: records with the URIs of their audio, if any.
        trusted: names of columns that always say which part of the file a row is.

    Raises:
        UserError: a disk or server fails.
    """
    undecided = placed = False
    for segment, uri in islice(_to_probe(rows, trusted), PROBED):
        with reading(uri):
            try:
                info, length = measure(fetch(uri) if is_parquet_uri(uri) else uri)
            except AudioError:  # its own row tells this
                continue
        verdict = _is_cut(segment.at_16k(info.sample_rate), length)
        if verdict is not None:
            return verdict
        undecided, placed = True, placed or segment.placed
    return undecided and not placed


def _to_probe(
    rows: Iterable[tuple[Mapping[str, Any], str | None]], trusted: Collection[str]
) -> Iterator[tuple[Segment, str]]:
    """Yield segment and URI of the rows that have valid times in columns that are not trusted."""
    for record, uri in rows:
        if uri is None or time_columns(record).keys() <= set(trusted):
            continue
        try:
            segment = get_segment(record)
        except ValueError:
            continue
        if segment != WHOLE:
            yield segment, uri


def _is_cut(segment: Segment, length: int) -> bool | None:
    """Return whether audio of `length` samples at 16 kHz is the segment itself; None if that cannot be told."""
    stated = length - segment.offset if segment.length is None else segment.length
    end = segment.offset + stated
    if end <= length + AGREE:
        return None if segment.offset <= AGREE and abs(stated - length) <= AGREE else False
    return True if abs(stated - length) <= max(AGREE, length // 20) else None
