"""Any audio to mono 16 kHz float32: by content, not by name, in bounded memory, with errors of stable codes.

Legend: N = samples at 16 kHz.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from unitlang.decoding import Decoder, SeekError
from unitlang.errors import AudioError
from unitlang.frames import SAMPLE_RATE
from unitlang.resampling import Resampler, phase_step, resampled_length
from unitlang.sources import AudioSource, source_name

BLOCK_SAMPLES = 30 * SAMPLE_RATE
"""Default length of a block of `stream`: 30 s."""

_LEADS_PER_SECOND = 10
"""0.1 s are decoded before a segment; the resampling filter reaches 1 ms back (32 taps at 16 kHz)."""


@dataclass(frozen=True)
class AudioInfo:
    """What the headers of an audio file say.

    Attributes:
        sample_rate: native rate in Hz.
        channels: number of native channels.
        codec: FFmpeg's name of the codec.
        num_samples: length at 16 kHz after resampling where the container states its length exactly (PCM
            in WAV, RF64, W64, AIFF, AU, CAF and SPHERE; FLAC; MP3 by LAME or FFmpeg), else None.
    """

    sample_rate: int
    channels: int
    codec: str
    num_samples: int | None


def probe(source: AudioSource) -> AudioInfo:
    """Reads the headers only.

    Raises:
        AudioError: missing, empty_file, not_audio, no_audio_stream, corrupt, or truncated where the headers
            already show that the file is shorter than it says.
    """
    with Decoder(source) as decoder:
        return AudioInfo(decoder.rate, decoder.channels, decoder.codec, _stated(decoder))


def stream(
    source: AudioSource,
    *,
    offset_samples: int = 0,
    num_samples: int | None = None,
    block_samples: int = BLOCK_SAMPLES,
) -> Iterator[NDArray[np.float32]]:
    """Decodes block by block; memory does not depend on the length of the file.

    A segment has the very samples that decoding from the start and cutting would give. PCM and FLAC are
    entered shortly before it, other codecs are decoded from their start.

    Args:
        source: path, fsspec URL or encoded bytes.
        offset_samples: first sample wanted, at 16 kHz.
        num_samples: how many, at 16 kHz; None = to the end.
        block_samples: length of every block but the last.

    Yields:
        Mono samples at 16 kHz.

    Raises:
        AudioError: as `probe`; bad_segment; not_finite; and where the end is reached: truncated (less than
            the container states), corrupt (failed checksums of FLAC and Ogg), no_samples. So blocks may
            have come before the error.
    """
    for block_N in _blocks(_segment(source, offset_samples, num_samples), block_samples):
        if not np.isfinite(block_N).all():
            raise AudioError("not_finite", "its samples are not all finite numbers", source_name(source))
        yield block_N


def load(source: AudioSource, *, offset_samples: int = 0, num_samples: int | None = None) -> NDArray[np.float32]:
    """The whole of `stream` as one array waveform_N (4 bytes a sample: 230 MB per hour).

    Raises:
        AudioError: as `stream`. That audio is too short for a frame is the caller's to decide (`num_frames`).
    """
    return np.concatenate(list(stream(source, offset_samples=offset_samples, num_samples=num_samples)))


def count_samples(source: AudioSource) -> int:
    """Length in samples at 16 kHz: as the container states it exactly, else by decoding it through.

    Raises:
        AudioError: as `probe` where the length is stated, as `stream` where it has to be decoded.
    """
    stated = probe(source).num_samples
    return sum(len(block_N) for block_N in stream(source)) if stated is None else stated


def _stated(decoder: Decoder) -> int | None:
    native = decoder.statement.num_samples
    return None if native is None else resampled_length(native, decoder.rate)


def _segment(source: AudioSource, offset: int, num_samples: int | None) -> Iterator[NDArray[np.float32]]:
    """Pieces of the segment, of any length."""
    if offset < 0 or (num_samples is not None and num_samples < 1):
        raise AudioError("bad_segment", f"offset {offset}, length {num_samples}", source_name(source))
    try:
        yield from _decode(source, offset, num_samples, seek=True)
    except SeekError:
        yield from _decode(source, offset, num_samples, seek=False)


def _decode(source: AudioSource, offset: int, num_samples: int | None, *, seek: bool) -> Iterator[NDArray[np.float32]]:
    with Decoder(source) as decoder:
        _check_segment(decoder, offset, num_samples)
        start = _entry(decoder.rate, offset) if seek and offset and decoder.seekable else 0
        position = resampled_length(start, decoder.rate)
        end = None if num_samples is None else offset + num_samples
        for piece_N in _resampled(decoder, start):
            kept_N = piece_N[max(0, offset - position) : None if end is None else max(0, end - position)]
            position += len(piece_N)
            if len(kept_N):
                yield kept_N
            if end is not None and position >= end:
                return
        _check_end(decoder, position)
        if end is not None or position <= offset:
            raise _outside(decoder, offset, num_samples, position)


def _entry(rate: int, offset: int) -> int:
    """Native sample to enter at: shortly before the segment, the filter in the phase of the file's start."""
    step = phase_step(rate)
    return max(0, offset * rate // SAMPLE_RATE - rate // _LEADS_PER_SECOND) // step * step


def _resampled(decoder: Decoder, start: int) -> Iterator[NDArray[np.float32]]:
    """All samples at 16 kHz from native sample `start` on, not beyond what the container states."""
    resampler = Resampler()
    stated = _stated(decoder)
    left = None if stated is None else stated - resampled_length(start, decoder.rate)
    try:
        for frame in decoder.frames(start):
            for piece_N in resampler.push(frame):
                yield piece_N[:left]
                left = None if left is None else max(0, left - len(piece_N))
        for piece_N in resampler.flush():
            yield piece_N[:left]
    except FFmpegError as error:
        raise decoder.fail("corrupt", f"its samples cannot be converted: {error.strerror}") from error


def _check_segment(decoder: Decoder, offset: int, num_samples: int | None) -> None:
    stated = _stated(decoder)
    if stated is not None and (offset or num_samples) and offset + (num_samples or 1) > stated:
        raise _outside(decoder, offset, num_samples, stated)


def _outside(decoder: Decoder, offset: int, num_samples: int | None, length: int) -> AudioError:
    wanted = "the rest" if num_samples is None else f"{num_samples} samples"
    return decoder.fail("bad_segment", f"{wanted} from sample {offset} of an audio of {length} samples (16 kHz)")


def _check_end(decoder: Decoder, length: int) -> None:
    """What is wrong with a file that was decoded to its end, `length` samples at 16 kHz."""
    stated = decoder.statement.num_samples
    if stated is not None and decoder.position < stated:
        raise decoder.fail("truncated", f"it states {stated} samples and decodes to {decoder.position}")
    # What does not decode of a lossy stream is not known to be damage, and the rest is still speech.
    damage = decoder.damage or (decoder.error if length == 0 else None)
    if damage is not None:
        raise decoder.fail("corrupt", damage)
    if length == 0:
        raise decoder.fail("no_samples", "it decodes to no samples")


def _blocks(pieces_N: Iterator[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """Cuts and joins pieces into blocks of `size` samples; the last may be shorter."""
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
