"""Open the audio of utterances, and measure audio files.

Legend: N = samples at 16 kHz.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import chain, groupby
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.engine.pools.decoded import Decoded
from pipelines.engine.step import Reject, noted
from pipelines.entries.roots import absolute
from pipelines.errors import USER_ERRORS, UserError
from pipelines.readers.base import BadItem, Item
from pipelines.readers.parquet_audio import fetch, is_parquet_uri
from pipelines.records import Audio, SpokenRow
from unitlang.ahead import run_ahead
from unitlang.audio.reading import AudioSource, measure, stream_segments
from unitlang.audio.sources import open_source
from unitlang.errors import AudioError
from unitlang.frames import SAMPLE_RATE

T = TypeVar("T")

READ_BYTES = 2**20
AHEAD_SAMPLES = 600 * SAMPLE_RATE
"""Longest audio that is decoded into memory in advance: ten minutes, 38 MB."""


def audio_source(uri: str) -> AudioSource:
    """The URI of a reader itself, or the bytes of the audio if the URI points into a Parquet file.

    Raises:
        AudioError: the Parquet file cannot be read or has no such audio.
    """
    return fetch(uri) if is_parquet_uri(uri) else uri


Content = tuple[str | None, int, int, int | None]
"""Checksum of the encoded audio, offset and length in samples at 16 kHz, and channel."""
Blocks = Iterator[NDArray[np.float32]]
"""Consecutive blocks waveform_N of an utterance, at 16 kHz."""


def row_streams(rows: Iterable[SpokenRow], threads: int = 1) -> Iterator[tuple[SpokenRow, Blocks]]:
    """Yield each utterance with its blocks waveform_N; a file is opened once for consecutive utterances.

    The blocks raise the AudioError of their row. They need not be read to the end, and end when the next row is read.

    Args:
        rows: utterances.
        threads: with more than one, threads decode files in advance, except those longer than `AHEAD_SAMPLES`.

    Raises:
        UserError: a file is missing or changed since it was ingested.
    """
    files = (list(group) for _, group in groupby(rows, _file_of))
    if threads == 1:
        return chain.from_iterable(map(_file_streams, files))
    jobs = (partial(_file_streams if _is_long(file) else _decoded, file) for file in files)
    return chain.from_iterable(run_ahead(jobs, threads=threads, depth=2 * threads))


def _file_of(row: SpokenRow) -> tuple[Audio, str | None]:
    return row["audio"], row.get("root")


def in_passes(rows: Sequence[SpokenRow]) -> list[int]:
    """The positions of utterances in the order in which each file is opened once and read forward, channel by channel.

    Files come in the order of their first utterances.
    """
    ranks: dict[tuple[str | None, int, str | None], int] = {}
    places: list[tuple[int, int, int]] = []
    for number, row in enumerate(rows):
        audio, root = _file_of(row)
        embedded = 0 if audio["bytes"] is None else number + 1  # bytes of its own
        rank = ranks.setdefault((audio["uri"], embedded, root), number)
        places.append((rank, -1 if (channel := row.get("channel")) is None else channel, row["offset_samples"]))
    return sorted(range(len(rows)), key=places.__getitem__)


def _file_streams(rows: list[SpokenRow]) -> Iterator[tuple[SpokenRow, Blocks]]:
    source = ingested_source(rows[0])
    return chain.from_iterable(
        _channel_streams(source, channel, list(group))
        for channel, group in groupby(rows, lambda row: row.get("channel"))
    )


def _channel_streams(
    source: AudioSource, channel: int | None, rows: list[SpokenRow]
) -> Iterator[tuple[SpokenRow, Blocks]]:
    segments = [(row["offset_samples"], row["num_samples"]) for row in rows]
    return zip(rows, stream_segments(source, segments, channel=channel), strict=True)


def _is_long(rows: list[SpokenRow]) -> bool:
    return sum(row["num_samples"] for row in rows) > AHEAD_SAMPLES


def _decoded(rows: list[SpokenRow]) -> list[tuple[SpokenRow, Blocks]]:
    """`_file_streams` with all blocks in memory."""
    decoded: list[tuple[SpokenRow, Blocks]] = []
    for row, blocks in _file_streams(rows):
        held: list[NDArray[np.float32]] = []
        try:
            held.extend(blocks)
            decoded.append((row, iter(held)))
        except AudioError as error:
            decoded.append((row, _broken(error)))
    return decoded


def _broken(error: AudioError) -> Blocks:
    raise error
    yield


def decoded(rows: Iterable[SpokenRow]) -> Decoded:
    """Decode utterances for another process.

    Raises:
        UserError: a file is missing or changed since it was ingested.
    """
    rows = list(rows)
    return Decoded.of(blocks for _, blocks in row_streams(rows[number] for number in in_passes(rows)))


def sound_streams(
    rows: Sequence[SpokenRow], faults: dict[int, AudioError], threads: int = 1, given: Decoded | None = None
) -> Iterator[tuple[int, Blocks]]:
    """`row_streams` with the number of each row in place of the row; an AudioError ends the blocks of its row.

    The rows come in the order of `in_passes`.

    Args:
        rows: utterances.
        faults: receives the error of each faulty row by its number; discard what was computed from its blocks.
        threads: as in `row_streams`.
        given: audio of the rows, if another process has decoded it.

    Raises:
        UserError: a file is missing or changed since it was ingested.
    """
    numbers = in_passes(rows)
    ordered = [rows[number] for number in numbers]
    streams = row_streams(ordered, threads) if given is None else zip(ordered, given.streams(), strict=True)
    for number, (row, blocks) in zip(numbers, streams, strict=True):
        yield number, _until_fault(number, row, blocks, faults)


def computed(
    rows: Sequence[SpokenRow],
    compute: Callable[[Iterable[tuple[int, Blocks]]], Iterator[tuple[int, T]]],
    faults: dict[int, AudioError],
    threads: int = 1,
    given: Decoded | None = None,
) -> Iterator[tuple[int, T]]:
    """Yield what a computation makes of the audio of utterances, with the number of the utterance.

    Args:
        rows: utterances.
        compute: computes on numbered utterances, perhaps several at a time.
        faults: as in `sound_streams`.
        threads: as in `row_streams`.
        given: as in `sound_streams`.

    Raises:
        UserError: a file is missing or changed since it was ingested.
        Exception: any failure of the computation, with a note that names the utterance.
    """
    begun, latest = set[int](), -1
    try:
        for latest, made in compute(sound_streams(rows, faults, threads, given)):
            begun.add(latest)
            yield latest, made
    except USER_ERRORS:
        raise
    except Exception as error:
        if not hasattr(error, "__notes__"):  # failed reads have a note already; a batch holds several utterances
            done = begun - {latest}
            _name_utterance(error, [row for number, row in enumerate(rows) if number not in done], compute)
        raise


def _name_utterance(
    error: Exception,
    rows: Iterable[SpokenRow],
    compute: Callable[[Iterable[tuple[int, Blocks]]], Iterator[tuple[int, T]]],
) -> None:
    """Add a note that names the first utterance that fails alone too; none if they fail only together."""
    for row in rows:
        try:
            for _ in compute(sound_streams([row], {})):
                pass
        except Exception:  # the failure of this utterance
            error.add_note(f"in {place_of(row)}")
            return


def _until_fault(number: int, row: SpokenRow, blocks: Blocks, faults: dict[int, AudioError]) -> Blocks:
    try:
        with noted(place_of(row)):
            yield from blocks
    except AudioError as error:
        faults[number] = error


def place_of(row: SpokenRow) -> str:
    """Id and audio of an utterance, for the notes of a failure."""
    uri, root = str(row["audio"]["uri"]), row.get("root")
    return f"utterance {row['utterance_id']}, audio {uri if root is None else absolute(uri, root, row['dataset'])}"


def same_audio(row: SpokenRow) -> Content:
    """Everything that the units of an utterance depend on, besides the quantizer."""
    return row["checksum"], row["offset_samples"], row["num_samples"], row.get("channel")


def crash_reject(row: SpokenRow) -> Reject:
    """The reject of an utterance that kills the process that computes it; the message is added later."""
    return Reject(row["dataset"], str(row["audio"]["uri"]), "crashed", "", row["utterance_id"], row["source_key"])


def ingested_source(row: SpokenRow) -> AudioSource:
    """The audio of an utterance, after a check that its bytes are those that `ingest` read.

    Without the check, the corpus would keep units of other bytes beside a wrong checksum.

    Raises:
        UserError: the file is missing or changed, or its root is unknown; the message names it and the remedy.
    """
    audio, expected = row["audio"], row["checksum"]
    uri = str(audio["uri"])
    try:
        if audio["bytes"] is not None:
            source: AudioSource = audio["bytes"]
        else:
            uri = absolute(uri, row.get("root"), row["dataset"])
            source = audio_source(uri)
        found = checksum(source)
    except AudioError as error:
        raise UserError(f"{uri}: was there when it was ingested, and now {error.message}; bring it back") from error
    if found != expected:
        raise UserError(
            f"{uri}: its contents changed since it was ingested (SHA-256 {found[:8]}, was {expected[:8]}); "
            "build again to take the new contents"
        )
    return source


def contents(entries: Sequence[Item | BadItem]) -> list[str | None]:
    """SHA-256 of the audio of entries; None of one that has no audio, or whose file is missing.

    Raises:
        Unreachable: a server does not answer.
    """
    return [_content(entry.uri) if isinstance(entry, Item) and entry.uri else None for entry in entries]


def _content(uri: str) -> str | None:
    try:
        return checksum(audio_source(uri))
    except AudioError as error:
        return None if error.reason == "missing" else sha256().hexdigest()  # an empty file


@dataclass(frozen=True)
class AudioFile:
    """Facts of one audio file: length in samples at 16 kHz, native rate in Hz, channels, SHA-256 of its bytes."""

    num_samples: int
    sample_rate: int
    channels: int
    checksum: str


class FileFacts:
    """Cache of the facts of audio files: each file is read once, although many utterances may be its segments."""

    def __init__(self) -> None:
        self._facts: dict[str, AudioFile | AudioError] = {}
        self._checksums: dict[str, str | None] = {}

    def checksum(self, uri: str) -> str | None:
        """SHA-256 of the file of a reject; None if there is none.

        Raises:
            Unreachable: its server does not answer.
        """
        if uri not in self._checksums:
            self._checksums[uri] = _content(uri)
        return self._checksums[uri]

    def __call__(self, uri: str) -> AudioFile:
        """The facts of the audio at `uri`.

        Raises:
            AudioError: the file is not usable audio.
        """
        if uri not in self._facts:
            self._facts[uri] = _examine(uri)
        facts = self._facts[uri]
        if isinstance(facts, AudioError):
            raise facts
        return facts


def _examine(uri: str) -> AudioFile | AudioError:
    try:
        source = audio_source(uri)
        info, num_samples = measure(source)
        return AudioFile(num_samples, info.sample_rate, info.channels, checksum(source))
    except AudioError as error:
        return error


def checksum(source: AudioSource) -> str:
    """SHA-256 of the encoded audio, read in bounded memory.

    Raises:
        AudioError: `missing` or `empty_file`.
    """
    digest = sha256()
    with closing(open_source(source)) as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
