"""Segments of one source as mono samples at 16 kHz: one pass over the file for those that follow each other.

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
from unitlang.audio.resampling import Resampler, phase_step, resampled_length
from unitlang.audio.sources import AudioSource, source_name
from unitlang.errors import AudioError
from unitlang.frames import SAMPLE_RATE

KEPT_SAMPLES = 10 * SAMPLE_RATE
"""What a pass remembers of what it gave: segments that overlap by up to 10 s need no second pass (640 kB)."""

_LEADS_PER_SECOND = 10
"""0.1 s are decoded before a segment; the resampling filter reaches 1 ms back (32 taps at 16 kHz)."""


class Playback:
    """Gives segments of one source; a context manager.

    PCM and FLAC are entered shortly before each segment, so that damage elsewhere in the file does not matter. Other
    codecs are decoded from their start, and a segment goes on where the one before it ended; one that begins
    more than `KEPT_SAMPLES` before that point starts the file again.
    """

    def __init__(self, source: AudioSource) -> None:
        """Nothing is opened before the first segment."""
        self._source = source
        self._pass: _Pass | None = None

    def segment(self, offset: int, num_samples: int | None) -> Iterator[NDArray[np.float32]]:
        """Pieces of the segment, of any length; it may be left early, and must be left before the next is begun.

        Args:
            offset: first sample wanted, at 16 kHz.
            num_samples: how many; None = to the end.

        Raises:
            AudioError: as `unitlang.audio.reading.stream`, but for not_finite.
        """
        if offset < 0 or (num_samples is not None and num_samples < 1):
            raise AudioError("bad_segment", f"offset {offset}, length {num_samples}", source_name(self._source))
        try:
            yield from self._played(offset, num_samples)
        except (AudioError, GeneratorExit):
            raise
        except BaseException:
            self.close()  # a remote file failed, or an interrupt: this pass is broken, the audio perhaps whole
            raise

    def _played(self, offset: int, num_samples: int | None) -> Iterator[NDArray[np.float32]]:
        try:
            yield from self._pass_to(offset).segment(offset, num_samples)
        except SeekError:
            yield from self._begin().segment(offset, num_samples)

    def _pass_to(self, offset: int) -> "_Pass":
        if self._pass is not None and self._pass.reaches(offset):
            return self._pass
        return self._begin(near=offset)

    def _begin(self, near: int = 0) -> "_Pass":
        self.close()
        self._pass = _Pass(self._source, near)
        return self._pass

    def close(self) -> None:
        """Closes the file."""
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
    """One way through the decoder, forwards; all positions are at 16 kHz.

    Args:
        near: where to enter, if the file can be entered; it is decoded from its start otherwise.
    """

    def __init__(self, source: AudioSource, near: int) -> None:
        self._decoder = Decoder(source)
        start = _entry(self._decoder.rate, near) if near and self._decoder.seekable else 0
        self._stated = stated_length(self._decoder)
        self._begin = self._end = resampled_length(start, self._decoder.rate)
        self._kept: deque[NDArray[np.float32]] = deque()  # the samples from _begin to _end
        self._pieces = self._resampled(start)
        self._failure: str | None = None

    def reaches(self, offset: int) -> bool:
        """Whether the pass can go on to a segment that begins there and give what a new pass would give."""
        return not self._decoder.seekable and offset >= self._begin

    def segment(self, offset: int, num_samples: int | None) -> Iterator[NDArray[np.float32]]:
        """See `Playback.segment`; also raises SeekError, before the first piece."""
        end = None if num_samples is None else offset + num_samples
        if self._stated is not None and (offset or num_samples) and offset + (num_samples or 1) > self._stated:
            raise self._outside(offset, num_samples, self._stated)
        position = self._begin
        for piece_N in chain(tuple(self._kept), self._advance()):
            wanted_N = piece_N[max(0, offset - position) : None if end is None else max(0, end - position)]
            position += len(piece_N)
            if len(wanted_N):
                yield wanted_N
            if end is not None and position >= end:
                return
        self._check_end()
        if end is not None or position <= offset:
            raise self._outside(offset, num_samples, position)

    def _advance(self) -> Iterator[NDArray[np.float32]]:
        """What is not yet decoded, piece by piece."""
        while (piece_N := next(self._pieces, None)) is not None:
            self._kept.append(piece_N)
            self._end += len(piece_N)
            while self._end - len(piece_N) - self._begin >= KEPT_SAMPLES + len(self._kept[0]):
                self._begin += len(self._kept.popleft())
            yield piece_N

    def _resampled(self, start: int) -> Generator[NDArray[np.float32]]:
        """All samples from native sample `start` on, not beyond what the container states."""
        resampler = Resampler()
        left = None if self._stated is None else self._stated - self._begin
        try:
            for frame in self._decoder.frames(start):
                for piece_N in resampler.push(frame):
                    yield piece_N[:left]
                    left = None if left is None else max(0, left - len(piece_N))
            for piece_N in resampler.flush():
                yield piece_N[:left]
        except FFmpegError as error:
            self._failure = f"its samples cannot be converted: {error.strerror}"

    def _check_end(self) -> None:
        """What is wrong with the file, once it was decoded to its end."""
        if self._failure is not None:
            raise self._decoder.fail("corrupt", self._failure)
        stated = self._decoder.statement.num_samples
        if stated is not None and self._decoder.position < stated:
            message = f"it states {stated} samples and decodes to {self._decoder.position}"
            raise self._decoder.fail("truncated", message)
        # What does not decode of a lossy stream is not known to be damage, and the rest is still speech.
        damage = self._decoder.damage or (self._decoder.error if self._end == 0 else None)
        if damage is not None:
            raise self._decoder.fail("corrupt", damage)
        if self._end == 0:
            raise self._decoder.fail("no_samples", "it decodes to no samples")

    def close(self) -> None:
        """Closes the file; the samples kept are given back at once, for `_pieces` refers to the pass no more."""
        self._pieces.close()
        self._decoder.close()

    def _outside(self, offset: int, num_samples: int | None, length: int) -> AudioError:
        wanted = "the rest" if num_samples is None else f"{num_samples} samples"
        message = f"{wanted} from sample {offset} of an audio of {length} samples (16 kHz)"
        return self._decoder.fail("bad_segment", message)


def stated_length(decoder: Decoder) -> int | None:
    """Length at 16 kHz as the container states it exactly, else None."""
    native = decoder.statement.num_samples
    return None if native is None else resampled_length(native, decoder.rate)


def _entry(rate: int, offset: int) -> int:
    """Native sample to enter at: shortly before the segment, the filter in the phase of the file's start."""
    step = phase_step(rate)
    return max(0, offset * rate // SAMPLE_RATE - rate // _LEADS_PER_SECOND) // step * step
