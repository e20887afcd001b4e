"""Decoding of an encoded file to native frames, by FFmpeg (PyAV)."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet

from unitlang.audio.containers import Statement, has_audio_magic, read_statement
from unitlang.audio.sources import AudioSource, EncodedFile, open_source, source_name
from unitlang.errors import AudioError, AudioReason

RATES = range(1_000, 1_536_001)
"""Plausible sample rates in Hz. Damaged headers state others, and resampling 1 Hz to 16 kHz would be endless."""

MAX_CHANNELS = 64
"""Most channels of a plausible file; a header that states more is damaged."""

_SEEKABLE_PCM = ("wav", "w64", "aiff", "au", "caf")
"""Containers in which FFmpeg seeks to a PCM sample exactly."""

_PROBED_PACKETS = "4"
"""Packets that FFmpeg probes in 16-bit WAVs for AC-3 and DTS posing as PCM.

FFmpeg's default, 2,500 packets of 4 kB, costs 7 ms per file. AC-3 frames have at most 4 kB, DTS frames on a CD 2 kB:
16 kB reveal either, unless silence comes first.
"""

_GAP = Fraction(1, 100)
"""Smallest delay in seconds, of two consecutive Ogg frames, that counts as a gap.

In whole streams two consecutive frames are never this late: the clock of Vorbis errs for one frame at a time, usually
by (2048 - 256) / 4 samples, and joined Opus files are late by a pre-skip of 6.5 ms.
"""


class Decoder:
    """One opened audio stream; a context manager.

    Attributes:
        rate: native sample rate in Hz.
        channels: number of native channels.
        codec: FFmpeg's name of the codec.
        statement: length that the container states.
        position: native samples per channel up to the end of the last frame yielded.
        error: message of the first packet that failed to decode and was skipped; None if there is none.
        damage: data that a checksum or the container's structure shows to be missing or wrong; None if there is none.
    """

    def __init__(self, source: AudioSource) -> None:
        """Open the source and read its headers.

        Raises:
            AudioError: missing, empty_file, not_audio, no_audio_stream, corrupt, truncated.
        """
        self._name = source_name(source)
        self.position = 0
        self._clock: Fraction | None = None
        self._late = Fraction(0)
        self.error: str | None = None
        self.damage: str | None = None
        self._file = open_source(source)
        try:
            self._container = _open_container(self._file, self._name)
            self._stream = self._audio_stream()
            context = self._stream.codec_context
            self.rate, self.channels, self.codec = context.sample_rate, context.channels, context.codec.name
            self.statement = self._read_statement()
            self._check_header(self._file.size)
        except BaseException:
            self.close()
            raise

    def _read_statement(self) -> Statement:
        position = self._file.tell()  # FFmpeg continues reading from here
        statement = read_statement(self._file, self._container.format.name)
        self._file.seek(position)
        poses = self._container.format.name in ("wav", "w64") and not self.codec.startswith("pcm_")
        return replace(statement, num_samples=None) if poses else statement

    def _audio_stream(self) -> AudioStream:
        stream = self._container.streams.best("audio")
        if not isinstance(stream, AudioStream):
            raise self.fail("no_audio_stream", f"{self._container.format.long_name} without an audio stream")
        # Despite the stubs, None if FFmpeg can name the codec but not decode it.
        if stream.codec_context is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise self.fail("not_audio", "there is no decoder for its audio codec")
        stream.codec_context.thread_count = 1  # callers run one decoder per core
        if stream.codec_context.codec.name == "flac":
            # Every frame has a checksum. For lossy decoders "explode" would refuse audio that is still audible.
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
        return stream

    def _check_header(self, size: int) -> None:
        if self.rate not in RATES:
            raise self.fail("corrupt", f"its header states a sample rate of {self.rate} Hz")
        if not 0 < self.channels <= MAX_CHANNELS:
            raise self.fail("corrupt", f"its header states {self.channels} channels")
        end = self.statement.end
        if end is not None and end > size:
            raise self.fail("truncated", f"its header states data up to byte {end}, the file has {size} bytes")

    def fail(self, reason: AudioReason, message: str) -> AudioError:
        """Return the error to raise about this source."""
        return AudioError(reason, message, self._name)

    @property
    def seekable(self) -> bool:
        """True if `frames` can start at a later sample without decoding everything before it."""
        name, clock = self._container.format.name, self._stream.time_base
        exact = name == self.codec == "flac" or (name in _SEEKABLE_PCM and self.codec.startswith("pcm_"))
        return exact and clock is not None and clock * self.rate == 1

    def frames(self, start: int = 0) -> Iterator[AudioFrame]:
        """Yield frames from native sample `start` (0 unless `seekable`) to the stated length or the end of the audio.

        Packets that do not decode are skipped and noted in `error` and `damage`.

        Raises:
            SeekError: seeking to `start` failed.
        """
        frames = self._all_frames()
        if start:
            self._seek(start)
            frame = next(frames, None)
            if frame is None or frame.pts is None or not 0 <= start - frame.pts < frame.samples:
                raise SeekError(start)
            self.position = start
            yield self._counted(_without_head(frame, start - frame.pts))
        stated = self.statement.num_samples
        for frame in frames:
            if stated is not None and self.position >= stated:
                return
            yield self._counted(frame)

    def _counted(self, frame: AudioFrame) -> AudioFrame:
        self.position += frame.samples
        if frame.sample_rate != self.rate and self.statement.num_samples is not None:
            self.damage = self.damage or f"its sample rate changes to {frame.sample_rate} Hz"
        return frame

    def _seek(self, start: int) -> None:
        try:
            self._container.seek(start, stream=self._stream)
        except FFmpegError as error:
            raise SeekError(start) from error

    def _all_frames(self) -> Iterator[AudioFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                self.damage = self.damage or f"its packets cannot be read: {error.strerror}"
                return
            if packet is None:
                return
            yield from self._decode(packet)

    def _decode(self, packet: "Packet[AudioStream]") -> Iterator[AudioFrame]:
        try:
            frames = packet.decode()
        except FFmpegError as error:
            self.error = self.error or f"a packet does not decode: {error.strerror}"
            if self.codec == "flac":
                self.damage = self.damage or self.error
            return
        for frame in frames:
            self._look_for_gap(frame)
            yield frame

    def _look_for_gap(self, frame: AudioFrame) -> None:
        """Detect missing Ogg pages: FFmpeg silently drops pages that fail their checksum, so only the clock jumps."""
        if self._container.format.name != "ogg" or frame.pts is None or frame.time_base is None:
            return
        begin = frame.pts * frame.time_base
        if self._clock is None or begin < self._clock:  # the first frame, or the first of another, joined file
            self._clock = begin
        late, self._late = self._late, begin - self._clock
        if min(late, self._late) > _GAP:
            self.damage = self.damage or f"{float(self._late):.3f} s are missing at {float(self._clock):.3f} s"
        self._clock += Fraction(frame.samples, frame.sample_rate)

    def close(self) -> None:
        """Close the container and the file."""
        if hasattr(self, "_container"):
            self._container.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SeekError(Exception):
    """Seeking to that sample failed; the file must be decoded from its start."""


def _open_container(file: EncodedFile, name: str) -> InputContainer:
    try:
        # Block all protocols, so that a playlist cannot make FFmpeg open anything but the given file.
        options = {"protocol_whitelist": "none", "max_probe_packets": _PROBED_PACKETS}
        return av.open(file, mode="r", container_options=options, metadata_errors="replace")
    except FFmpegError as error:
        file.seek(0)
        if has_audio_magic(file.read(16)):
            raise AudioError("corrupt", f"its header cannot be read: {error.strerror}", name) from error
        raise AudioError("not_audio", f"it is not recognised as audio: {error.strerror}", name) from error


def _without_head(frame: AudioFrame, skip: int) -> AudioFrame:
    """Drop the first `skip` samples per channel of a frame; PCM and FLAC decode to packed frames."""
    if not skip:
        return frame
    samples: Any = np.ascontiguousarray(frame.to_ndarray()[:, skip * frame.layout.nb_channels :])
    cut = AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout.name)
    cut.sample_rate = frame.sample_rate
    return cut
