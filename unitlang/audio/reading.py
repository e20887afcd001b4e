"""Any audio as mono 16 kHz float32, in bounded memory; formats are detected by content and errors have stable codes.

Legend: N = samples at 16 kHz.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unitlang.audio.decoding import Decoder
from unitlang.audio.playback import Playback, stated_length
from unitlang.audio.sources import AudioSource, reading, source_name
from unitlang.errors import AudioError
from unitlang.frames import SAMPLE_RATE

BLOCK_SAMPLES = 30 * SAMPLE_RATE
"""Default length of a block of `stream`: 30 s."""

LOUDEST = 2.0**32
"""Largest magnitude of a sample: no larger than 32-bit integers that were written as floats without scaling.

A flipped bit in the exponent of a float gives up to 3e38, of which features become infinite.
"""

Segment = tuple[int, int | None]
"""First sample and number of samples at 16 kHz; None = to the end."""


@dataclass(frozen=True)
class AudioInfo:
    """Facts from the headers of an audio file.

    Attributes:
        sample_rate: native rate in Hz.
        channels: number of native channels.
        codec: FFmpeg's name of the codec.
        num_samples: length at 16 kHz after resampling if the container states it exactly (PCM in WAV, RF64, W64, AIFF,
            AU, CAF and SPHERE; FLAC; MP3 by LAME or FFmpeg), else None.
    """

    sample_rate: int
    channels: int
    codec: str
    num_samples: int | None


def probe(source: AudioSource) -> AudioInfo:
    """Read the headers only.

    Raises:
        AudioError: missing, empty_file, not_audio, no_audio_stream, corrupt, unsupported, or truncated if the headers
            already show that the file is shorter than stated.
    """
    return reading(source, _info, source)


def _info(source: AudioSource) -> AudioInfo:
    with Decoder(source) as decoder:
        return AudioInfo(decoder.rate, decoder.channels, decoder.codec, stated_length(decoder))


def stream(
    source: AudioSource,
    *,
    offset_samples: int = 0,
    num_samples: int | None = None,
    block_samples: int = BLOCK_SAMPLES,
    channel: int | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Decode block by block; memory does not depend on the length of the file.

    A segment has exactly the samples that decoding from the start and slicing would give. PCM and FLAC are decoded from
    shortly before the segment, other codecs from their start.

    Args:
        source: path, fsspec URL or encoded bytes.
        offset_samples: first sample at 16 kHz.
        num_samples: length in samples at 16 kHz; None = to the end.
        block_samples: length of every block but the last.
        channel: the channel to read, from 0; None = mix all.

    Yields:
        Mono samples at 16 kHz.

    Raises:
        AudioError: as `probe`; no_channel; bad_segment; not_finite; and at the end: truncated (shorter than the
            container states), corrupt (failed checksums of lossless codecs and Ogg), no_samples, antiphase (its
            channels cancel each other). Blocks may have been yielded before the error.
    """
    with Playback(source, channel) as playback:
        yield from _finite_blocks(playback, (offset_samples, num_samples), block_samples, source)


def stream_segments(
    source: AudioSource,
    segments: Iterable[Segment],
    *,
    block_samples: int = BLOCK_SAMPLES,
    channel: int | None = None,
) -> Iterator[Iterator[NDArray[np.float32]]]:
    """Yield the blocks of each segment of one source, in one pass over the file if the segments are in order.

    Codecs other than PCM and FLAC are decoded once for all segments in ascending order, with overlaps of up to 10 s; a
    segment that begins before that is decoded from the start of the file, as by `stream`.

    Args:
        source: path, fsspec URL or encoded bytes; it is opened at the first block.
        segments: pairs of `stream`'s offset_samples and num_samples.
        block_samples: length of every block but the last of a segment.
        channel: as in `stream`.

    Yields:
        The blocks of `stream` for each segment. They may be left early, and are closed at the next segment.

    Raises:
        AudioError: never from this iterator; the blocks of a segment raise what `stream` raises for it, and later
            segments can still be read.
    """
    with Playback(source, channel) as playback:
        for segment in segments:
            with closing(_finite_blocks(playback, segment, block_samples, source)) as blocks:
                yield blocks


def load(
    source: AudioSource, *, offset_samples: int = 0, num_samples: int | None = None, channel: int | None = None
) -> NDArray[np.float32]:
    """Return the whole of `stream` as one array waveform_N (4 bytes per sample: 230 MB per hour).

    Raises:
        AudioError: as `stream`. Audio too short for one frame is not an error here; see `FrameGrid.num_frames`.
    """
    blocks = stream(source, offset_samples=offset_samples, num_samples=num_samples, channel=channel)
    return np.concatenate(list(blocks))


def measure(source: AudioSource) -> tuple[AudioInfo, int]:
    """Return the result of `probe` and the length at 16 kHz, which is decoded if the headers do not state it.

    Raises:
        AudioError: as `probe` if the length is stated, as `stream` if it has to be decoded.
    """
    info = probe(source)
    if info.num_samples is not None:
        return info, info.num_samples
    return info, sum(len(block_N) for block_N in stream(source, channel=0))  # whatever channel an utterance takes


def _finite_blocks(
    playback: Playback, segment: Segment, size: int, source: AudioSource
) -> Generator[NDArray[np.float32]]:
    blocks = _blocks(playback.segment(*segment), size)
    while (block_N := reading(source, next, blocks, None)) is not None:
        loudest = np.abs(block_N).max(initial=0.0)
        if not loudest <= LOUDEST:  # NaN is not, either
            raise AudioError("not_finite", f"a sample is {loudest:g}, but sound lies within 1", source_name(source))
        yield block_N


def _blocks(pieces_N: Iterator[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """Cut and join pieces into blocks of `size` samples; the last may be shorter."""
    waiting: list[NDArray[np.float32]] = []
    length = 0
    for piece_N in pieces_N:
        waiting.append(piece_N)
        length += len(piece_N)
        if length >= size:
            joined_N = np.concatenate(waiting)
            for begin in range(0, length - size + 1, size):
                yield joined_N[begin : begin + size]
            rest_N = joined_N[length - length % size :].copy()
            waiting, length = [rest_N], len(rest_N)
    if length:
        yield np.concatenate(waiting)
