"""Opening the `audio` column of the utterances, and facts of audio files.

Legend: N = samples at 16 kHz.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import chain, groupby

import numpy as np
from numpy.typing import NDArray

from pipelines.engine.step import noted
from pipelines.errors import UserError
from pipelines.readers.parquet_audio import fetch, is_parquet_uri
from pipelines.records import Audio, SpokenRow
from unitlang.ahead import run_ahead
from unitlang.audio.reading import AudioSource, measure, stream_segments
from unitlang.audio.sources import open_source
from unitlang.errors import AudioError
from unitlang.frames import SAMPLE_RATE

READ_BYTES = 2**20
AHEAD_SAMPLES = 600 * SAMPLE_RATE
"""Longest audio that is decoded into memory ahead of its turn: ten minutes, 38 MB."""


def audio_source(uri: str) -> AudioSource:
    """What to open for a URI of a reader: the URI itself, or the bytes when they lie inside a Parquet file."""
    return fetch(uri) if is_parquet_uri(uri) else uri


Blocks = Iterator[NDArray[np.float32]]
"""Consecutive parts waveform_N of an utterance."""


def row_streams(rows: Iterable[SpokenRow], threads: int = 1) -> Iterator[tuple[SpokenRow, Blocks]]:
    """Each utterance with its blocks waveform_N; consecutive segments of one file are read in one pass.

    The blocks raise the AudioError of their row, may be left early, and end when the next row is asked for.

    Args:
        rows: utterances.
        threads: more than one decode files ahead of their turn, but for long ones, which stream.

    Raises:
        UserError: when a file is not the one that was ingested.
    """
    files = (list(group) for _, group in groupby(rows, lambda row: row["audio"]))
    if threads == 1:
        return chain.from_iterable(map(_file_streams, files))
    jobs = (partial(_file_streams if _is_long(file) else _decoded, file) for file in files)
    return chain.from_iterable(run_ahead(jobs, threads=threads, depth=2 * threads))


def _file_streams(rows: list[SpokenRow]) -> Iterator[tuple[SpokenRow, Blocks]]:
    source = ingested_source(rows[0]["audio"], rows[0]["checksum"])
    segments = [(row["offset_samples"], row["num_samples"]) for row in rows]
    return zip(rows, stream_segments(source, segments), strict=True)


def _is_long(rows: list[SpokenRow]) -> bool:
    return sum(row["num_samples"] for row in rows) > AHEAD_SAMPLES


def _decoded(rows: list[SpokenRow]) -> list[tuple[SpokenRow, Blocks]]:
    """`_file_streams` with all the blocks in memory."""
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


def sound_streams(
    rows: Iterable[SpokenRow], faults: dict[int, AudioError], threads: int = 1
) -> Iterator[tuple[int, Blocks]]:
    """`row_streams` with the number of each row in place of the row; a row's AudioError ends its blocks.

    Args:
        rows: utterances.
        faults: takes the error of each row that has one; what was made of its blocks is of no use.
        threads: as of `row_streams`.
    """
    for number, (row, blocks) in enumerate(row_streams(rows, threads)):
        yield number, _until_fault(number, row, blocks, faults)


def _until_fault(number: int, row: SpokenRow, blocks: Blocks, faults: dict[int, AudioError]) -> Blocks:
    try:
        with noted(place_of(row)):
            yield from blocks
    except AudioError as error:
        faults[number] = error


def place_of(row: SpokenRow) -> str:
    """Where an utterance is, for the notes of a failure."""
    return f"utterance {row['utterance_id']}, audio {row['audio']['uri']}"


def ingested_source(audio: Audio, expected: str) -> AudioSource:
    """What to open for a value of the `audio` column, if its bytes are still those that `ingest` saw.

    Units of other bytes would stand beside a wrong checksum for ever.

    Raises:
        UserError: naming the file and the remedy.
    """
    uri = audio["uri"]
    try:
        source = audio["bytes"] if audio["bytes"] is not None else audio_source(str(uri))
        found = checksum(source)
    except AudioError as error:
        raise UserError(f"{uri}: was there when it was ingested, and now {error.message}; bring it back") from error
    if found != expected:
        raise UserError(
            f"{uri}: its contents changed since it was ingested (SHA-256 {found[:8]}, was {expected[:8]}); "
            "bring the old file back, or build into a new store"
        )
    return source


@dataclass(frozen=True)
class AudioFile:
    """Facts of one audio file: length in samples at 16 kHz, native rate in Hz, SHA-256 of its bytes."""

    num_samples: int
    sample_rate: int
    checksum: str


class FileFacts:
    """Facts of audio files, each file examined once: many utterances may be segments of one."""

    def __init__(self) -> None:
        self._facts: dict[str, AudioFile | AudioError] = {}

    def __call__(self, uri: str) -> AudioFile:
        """The facts of the audio at `uri`.

        Raises:
            AudioError: when it is not usable audio.
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
        return AudioFile(num_samples, info.sample_rate, checksum(source))
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
