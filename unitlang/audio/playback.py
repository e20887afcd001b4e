"""Segments of one source as mono samples at 16 kHz, in one pass over the file if they are in order.

Legend: N = samples at 16 kHz.
"""

from collections import deque
from collections.abc import Generator, Iterator
from itertools import chain
from types import TracebackType
from typing import Self

import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from unitlang.audio.decoding import Decoder, SeekError
from unitlang.audio.resampling import CANCELLED, Piece, Resampler, phase_step, resampled_length
from unitlang.audio.sources import AudioSource, source_name
from unitlang.errors import AudioError
from unitlang.frames import SAMPLE_RATE

KEPT_SAMPLES = 10 * SAMPLE_RATE
"""Samples that a pass keeps after yielding them (640 kB), so that overlaps of up to 10 s need no second pass."""

_LEADS_PER_SECOND = 10
"""A pass starts decoding 0.1 s before a segment; the resampling filter reaches 1 ms back (32 taps at 16 kHz)."""


ANTIPHASE = "its channels cancel each other when they are mixed; choose one of them: `channel: 0` or `channel: 1`"


def no_channel(channel: int, channels: int) -> str:
    """Message for a channel that a file does not have."""
    return f"there is no channel {channel}: it has {channels}, and they count from 0"


class Playback:
    """Yields segments of one source; a context manager.

    The file is opened once, and again only where that has shown damage.
    PCM and FLAC are decoded from shortly before each segment, so that damage elsewhere in the file does not matter.
    Other codecs are decoded from their start: a segment continues where the one before it ended, and one that begins
    more than `KEPT_SAMPLES` before that point starts the file again.
    """

    def __init__(self, source: AudioSource, channel: int | None = None) -> None:
        """Remember the source and the channel, from 0 (None = mix all); the file is opened at the first segment."""
        self._source = source
        self._channel = channel
        self._pass: _Pass | None = None

    def segment(self, offset: int, num_samples: int | None) -> Iterator[NDArray[np.float32]]:
        """Yield pieces of the segment, of any length.

        The generator may be closed early, and must be closed before the next segment starts.

        Args:
            offset: first sample at 16 kHz.
            num_samples: length in samples at 16 kHz; None = to the end.

        Raises:
            AudioError: as `unitlang.audio.reading.stream`, except not_finite.
        """
        if offset < 0 or (num_samples is not None and num_samples < 1):
            raise AudioError("bad_segment", f"offset {offset}, length {num_samples}", source_name(self._source))
        try:
            yield from self._played(offset, num_samples)
        except (AudioError, GeneratorExit):
            raise
        except BaseException:
            self.close()  # a remote file failed or an interrupt came: this pass is broken, but the audio may be whole
            raise

    def _played(self, offset: int, num_samples: int | None) -> Iterator[NDArray[np.float32]]:
        try:
            yield from self._pass_to(offset).segment(offset, num_samples)
            return
        except SeekError:
            self.close()  # FFmpeg does not seek back in every file whose end it has seen
        try:
            yield from self._begin(near=offset).segment(offset, num_samples)
        except SeekError:
            yield from self._begin().segment(offset, num_samples)

    def _pass_to(self, offset: int) -> "_Pass":
        if self._pass is not None and self._pass.reaches(offset):
            return self._pass
        return self._begin(near=offset)

    def _begin(self, near: int = 0) -> "_Pass":
        opened = self._pass.decoder_at(near) if self._pass is not None else None
        if opened is None:
            self.close()
        self._pass = None
        self._pass = _Pass(opened or Decoder(self._source), self._channel, near)
        return self._pass

    def close(self) -> None:
        """Close the file."""
        if self._pass is not None:
            self._pass.close()
            self._pass = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Pass:
    """One forward pass through the decoder; all positions are at 16 kHz.

    Args:
        decoder: of the file; closed with the pass. One that was read before must be able to seek to `near`.
        channel: the channel to read, from 0; None = mix all.
        near: first sample of the segment to seek to; files that are not seekable are decoded from their start.
    """

    def __init__(self, decoder: Decoder, channel: int | None, near: int) -> None:
        self._decoder = decoder
        self._channel = channel
        try:
            self._check_channel(self._decoder.channels)
        except AudioError:
            self._decoder.close()
            raise
        start = _start(self._decoder, near)
        self._stated = stated_length(self._decoder)
        self._begin = self._end = resampled_length(start, self._decoder.rate)
        self._kept: deque[Piece] = deque()  # samples from _begin to _end
        self._pieces = self._resampled(start)
        self._failure: str | None = None

    def _check_channel(self, channels: int) -> None:
        if self._channel is not None and self._channel not in range(channels):
            raise self._decoder.fail("no_channel", no_channel(self._channel, channels))

    def decoder_at(self, near: int) -> Decoder | None:
        """The decoder, for another pass that seeks; None if the file must be opened again. This pass ends."""
        self._pieces.close()
        is_whole = self._failure is None and self._decoder.error is None and self._decoder.damage is None
        return self._decoder if is_whole and _start(self._decoder, near) else None

    def reaches(self, offset: int) -> bool:
        """Return whether this pass can continue to a segment at `offset` and yield what a new pass would."""
        return not self._decoder.seekable and offset >= self._begin

    def segment(self, offset: int, num_samples: int | None) -> Iterator[NDArray[np.float32]]:
        """Yield pieces as `Playback.segment` does; may raise SeekError before the first piece."""
        end = None if num_samples is None else offset + num_samples
        if self._stated is not None and (offset or num_samples) and offset + (num_samples or 1) > self._stated:
            raise self._outside(offset, num_samples, self._stated)
        position = self._begin
        channels = mixed = 0.0
        for piece in chain(tuple(self._kept), self._advance()):
            wanted_N = piece.samples_N[max(0, offset - position) : None if end is None else max(0, end - position)]
            position += len(piece.samples_N)
            if len(wanted_N):
                channels, mixed = channels + piece.channels, mixed + piece.mixed
                yield wanted_N
            if end is not None and position >= end:
                break
        else:
            self._check_end()
            if end is not None or position <= offset:
                raise self._outside(offset, num_samples, position)
        if mixed < CANCELLED * channels:
            raise self._decoder.fail("antiphase", ANTIPHASE)

    def _advance(self) -> Iterator[Piece]:
        """Decode the next pieces and keep the latest `KEPT_SAMPLES`."""
        while (piece := next(self._pieces, None)) is not None:
            self._kept.append(piece)
            self._end += len(piece.samples_N)
            while self._end - len(piece.samples_N) - self._begin >= KEPT_SAMPLES + len(self._kept[0].samples_N):
                self._begin += len(self._kept.popleft().samples_N)
            yield piece

    def _resampled(self, start: int) -> Generator[Piece]:
        """Yield all pieces from native sample `start`, up to the length that the container states."""
        resampler = Resampler(self._channel)
        left = None if self._stated is None else self._stated - self._begin
        try:
            for frame in self._decoder.frames(start):
                self._check_channel(frame.layout.nb_channels)
                for piece in resampler.push(frame):
                    yield piece if left is None or left >= len(piece.samples_N) else piece.cut(left)
                    left = None if left is None else max(0, left - len(piece.samples_N))
            for piece in resampler.flush():
                yield piece.cut(left)
        except FFmpegError as error:
            self._failure = f"its samples cannot be converted: {error.strerror}"

    def _check_end(self) -> None:
        """Raise the error of a file that was decoded to its end and is damaged, truncated or empty."""
        if self._failure is not None:
            raise self._decoder.fail("corrupt", self._failure)
        stated = self._decoder.statement.num_samples
        if stated is not None and self._decoder.position < stated:
            message = f"it states {stated} samples and decodes to {self._decoder.position}"
            raise self._decoder.fail("truncated", message)
        self._decoder.check_pages()
        # In a lossy stream, packets that do not decode may be harmless, and the rest is still speech.
        damage = self._decoder.damage or (self._decoder.error if self._end == 0 else None)
        if damage is not None:
            raise self._decoder.fail("corrupt", damage)
        if self._end == 0:
            raise self._decoder.fail("no_samples", "it decodes to no samples")

    def close(self) -> None:
        """Close the file; closing `_pieces` breaks its reference to the pass, so the kept samples are freed at once."""
        self._pieces.close()
        self._decoder.close()

    def _outside(self, offset: int, num_samples: int | None, length: int) -> AudioError:
        wanted = "the rest" if num_samples is None else f"{num_samples} samples"
        message = f"{wanted} from sample {offset} of an audio of {length} samples (16 kHz)"
        return self._decoder.fail("bad_segment", message)


def stated_length(decoder: Decoder) -> int | None:
    """Length at 16 kHz if the container states it exactly, else None."""
    native = decoder.statement.num_samples
    return None if native is None else resampled_length(native, decoder.rate)


def _start(decoder: Decoder, near: int) -> int:
    """Native sample from which a decoder reads for a segment that begins at `near`; 0 if it cannot seek."""
    return _entry(decoder.rate, near) if near and decoder.seekable else 0


def _entry(rate: int, offset: int) -> int:
    """Native sample to seek to: shortly before the segment, in the filter phase of the file's start."""
    step = phase_step(rate)
    return max(0, offset * rate // SAMPLE_RATE - rate // _LEADS_PER_SECOND) // step * step
