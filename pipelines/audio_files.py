"""From the `audio` column of the utterances to something that `unitlang.audio` can open, and facts of audio files.

Legend: N = samples at 16 kHz.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.readers.parquet_audio import fetch, is_parquet_uri
from unitlang.audio import AudioSource, count_samples, probe, stream, stream_segments
from unitlang.errors import AudioError
from unitlang.sources import open_source

READ_BYTES = 2**20


def audio_source(uri: str) -> AudioSource:
    """What to open for a URI of a reader: the URI itself, or the bytes when they lie inside a Parquet file."""
    return fetch(uri) if is_parquet_uri(uri) else uri


def row_source(audio: dict[str, Any]) -> AudioSource:
    """What to open for a value of the `audio` column: its embedded bytes, else its URI."""
    return audio["bytes"] if audio["bytes"] is not None else audio_source(audio["uri"])


Row = dict[str, Any]
Blocks = Iterator[NDArray[np.float32]]


def row_streams(rows: Iterable[Row]) -> Iterator[tuple[Row, Blocks]]:
    """Each utterance with its blocks waveform_N; consecutive segments of one file are read in one pass.

    The blocks raise the AudioError of their row, may be left early, and end when the next row is asked for.
    """
    for uri, group in groupby(rows, _shared_uri):
        if uri is None:
            yield from ((row, _row_stream(row)) for row in group)
        else:
            members = list(group)
            segments = [(row["offset_samples"], row["num_samples"]) for row in members]
            yield from zip(members, stream_segments(uri, segments), strict=True)


def _shared_uri(row: Row) -> str | None:
    """The file that other rows may be segments of; None where the row has its own bytes, here or in Parquet."""
    uri, embedded = row["audio"]["uri"], row["audio"]["bytes"] is not None
    return None if embedded or is_parquet_uri(uri) else uri


def _row_stream(row: Row) -> Blocks:
    source = row_source(row["audio"])
    yield from stream(source, offset_samples=row["offset_samples"], num_samples=row["num_samples"])


@dataclass(frozen=True)
class AudioFile:
    """Facts of one audio file: length in samples at 16 kHz, native rate in Hz, SHA-256 of its bytes."""

    num_samples: int
    sample_rate: int
    checksum: str


class FileFacts:
    """Facts of audio files; the last file's are kept, because the segments of one file follow each other."""

    def __init__(self) -> None:
        self._uri: str | None = None
        self._facts: AudioFile | AudioError | None = None

    def __call__(self, uri: str) -> AudioFile:
        """The facts of the audio at `uri`.

        Raises:
            AudioError: when it is not usable audio.
        """
        if self._facts is None or uri != self._uri:
            self._uri, self._facts = uri, _examine(uri)
        if isinstance(self._facts, AudioError):
            raise self._facts
        return self._facts


def _examine(uri: str) -> AudioFile | AudioError:
    try:
        source = audio_source(uri)
        return AudioFile(count_samples(source), probe(source).sample_rate, checksum(source))
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
