"""Decoding of an encoded file to native frames, by FFmpeg (PyAV)."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import dropwhile
from types import TracebackType
from typing import Any, Self, cast

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags2
from av.container import InputContainer
from av.error import FFmpegError, PatchWelcomeError
from av.packet import Packet

from unitlang.audio.containers import has_audio_magic, read_statement
from unitlang.audio.layouts import held, listed_channels
from unitlang.audio.ogg import Link, damage_of, links
from unitlang.audio.open_sizes import with_sizes
from unitlang.audio.riff import contradiction, pcm_codec
from unitlang.audio.sources import AudioSource, EncodedFile, Restated, open_source, source_name
from unitlang.audio.statement import Statement, settled
from unitlang.errors import AudioError, AudioReason

RATES = range(1_000, 1_536_001)
"""Plausible sample rates in Hz. Damaged headers state others, and resampling 1 Hz to 16 kHz would be endless."""

MAX_CHANNELS = 64
"""Most channels of a plausible file; a header that states more is damaged."""

_SEEKABLE_PCM = ("wav", "w64", "aiff", "au", "caf")
"""Containers in which FFmpeg seeks to a PCM sample exactly."""

_CHECKED = ("flac", "wavpack", "tta", "ape", "tak")
"""Lossless codecs with a checksum in every frame."""

_PROBED_PACKETS = "4"
"""Packets that FFmpeg probes in 16-bit WAVs for AC-3 and DTS posing as PCM.

FFmpeg's default, 2,500 packets of 4 kB, costs 7 ms per file. AC-3 frames have at most 4 kB, DTS frames on a CD 2 kB:
16 kB reveal either, unless silence comes first.
"""


UNSUPPORTED = "FFmpeg cannot read on where its streams change; split it, or encode it anew"


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
        self.error: str | None = None
        self.damage: str | None = None
        self._clock: tuple[int, int] | None = None  # place of a FLAC frame, and by how much it is late
        self._links: list[Link] = []  # of a chained Ogg whose links differ; the first is the one that is decoded
        self._file = open_source(source)
        try:
            self._file = with_sizes(self._file)
            self._container = _open_container(self._file, self._name)
            self._stream = self._audio_stream()
            context = self._stream.codec_context
            layout = held(context.layout)
            self.rate, self.channels = context.sample_rate, layout.nb_channels
            self._is_listed = listed_channels(layout) is not None
            self._codec = self._chosen_codec(context)
            self.codec = self._codec.name
            self.statement = self._read_statement()
            self._check_header(self._file.size)
        except BaseException:
            self.close()
            raise

    def _read_statement(self) -> Statement:
        position = self._file.tell()  # FFmpeg continues reading from here
        file = self._file.original if isinstance(self._file, Restated) else self._file
        statement = settled(read_statement(file, self._container.format.name), file.size, self.rate)
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
        if (self._container.format.name, stream.codec_context.codec.name) == ("caf", "alac"):
            # The last frame is short, and FFmpeg would cut what it lacks from it once more.
            stream.codec_context.flags2 |= Flags2.skip_manual
        if stream.codec_context.codec.name in _CHECKED:
            # For lossy decoders "explode" would refuse audio that is still audible.
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
        return stream

    def _chosen_codec(self, context: AudioCodecContext) -> AudioCodecContext:
        """Return FFmpeg's choice of a decoder, or for PCM the one that the header describes, if it is another."""
        chosen = context.codec.name
        if not chosen.startswith("pcm_"):
            return context
        position = self._file.tell()
        codec = pcm_codec(self._file, self._container.format.name)
        fault = contradiction(self._file, self._container.format.name)
        self._file.seek(position)
        if fault is not None:
            raise self.fail("corrupt", fault)
        if codec is None or codec == chosen:
            return context
        other = cast(AudioCodecContext, av.CodecContext.create(codec, "r"))
        other.sample_rate, other.layout = context.sample_rate, context.layout
        return other

    def _check_header(self, size: int) -> None:
        if self.rate not in RATES:
            raise self.fail("corrupt", f"its header states a sample rate of {self.rate} Hz")
        if not 0 < self.channels <= MAX_CHANNELS:
            raise self.fail("corrupt", f"its header states {self.channels} channels")
        end = self.statement.end
        if end is not None and end > size:
            raise self.fail("truncated", f"its header states data up to byte {end}, the file has {size} bytes")
        stated = self.statement.num_samples or 0
        if stated * self.statement.least_bytes > size:
            raise self.fail("truncated", f"its header states {stated} samples, more than its {size} bytes can hold")

    def fail(self, reason: AudioReason, message: str) -> AudioError:
        """Return the error to raise about this source."""
        return AudioError(reason, message, self._name)

    @cached_property
    def seekable(self) -> bool:
        """True if `frames` can start at a later sample without decoding everything before it."""
        name, clock = self._container.format.name, self._stream.time_base
        exact = name == self.codec == "flac" or (name in _SEEKABLE_PCM and self.codec.startswith("pcm_"))
        return exact and not self._is_listed and clock is not None and clock * self.rate == 1

    def frames(self, start: int = 0) -> Iterator[AudioFrame]:
        """Yield frames from native sample `start` (0 unless `seekable`) to the stated length or the end of the audio.

        Packets that do not decode are skipped and noted in `error` and `damage`.

        Raises:
            AudioError: unsupported.
            SeekError: seeking to `start` failed.
        """
        frames = self._all_frames()
        if start:
            self._seek(start)
            frame = next(frames, None)
            if frame is None or frame.pts is None or not 0 <= start - frame.pts < frame.samples:
                raise SeekError(start)
            self.position = start
            yield self._counted(_part(frame, start - frame.pts, frame.samples))
        stated, block = self.statement.num_samples, self.statement.block
        for frame in frames:
            if stated is not None and self.position >= stated:
                return
            # Not all of FFmpeg's demuxers of PCM stop where the stated data ends.
            is_exact = stated is not None and block and not self._is_listed
            rest = (stated or 0) - self.position if is_exact else frame.samples
            yield self._counted(_part(frame, 0, min(rest, frame.samples)))

    def _counted(self, frame: AudioFrame) -> AudioFrame:
        self._look_for_gap(frame)
        self.position += frame.samples
        if frame.sample_rate != self.rate and self.statement.num_samples is not None:
            self.damage = self.damage or f"its sample rate changes to {frame.sample_rate} Hz"
        return frame

    def _look_for_gap(self, frame: AudioFrame) -> None:
        """Note missing frames of FLAC, each of which knows its place: FFmpeg silently drops some that are damaged."""
        if frame.pts is None or self.codec != "flac" or not self.seekable:
            return
        before, late = self._clock, frame.pts - self.position
        if before is not None and late != before[1] and frame.pts >= before[0]:  # joined files start again
            self.damage = self.damage or f"samples are missing before sample {frame.pts}"
        self._clock = frame.pts, late

    def _seek(self, start: int) -> None:
        self._clock = None
        try:
            self._container.seek(start, stream=self._stream)
            self._codec.flush_buffers()  # the container only knows the codec that it has chosen itself
        except FFmpegError as error:
            raise SeekError(start) from error

    def _all_frames(self) -> Iterator[AudioFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                if self._opens_next_link():
                    packets = self._container.demux(self._stream)
                    continue
                if isinstance(error, PatchWelcomeError):
                    raise self.fail("unsupported", UNSUPPORTED) from error
                self.damage = self.damage or f"its packets cannot be read: {error.strerror}"
                return
            if packet is None:
                return
            yield from self._decode(packet)

    def _opens_next_link(self) -> bool:
        """Open the next link of a chained Ogg of another kind, which FFmpeg refuses; return whether there is one.

        FFmpeg joins links of one kind by itself.
        """
        if self._container.format.name != "ogg":
            return False
        chain = self._links or links(self._file)
        self._links = list(dropwhile(lambda link: link.kind == chain[0].kind, chain))
        if not self._links:
            return False
        self._container.close()
        self._file.seek(0)
        self._container = _open_container(self._file, self._name, skipped_bytes=self._links[0].start)
        self._stream = self._audio_stream()
        self._codec = self._stream.codec_context
        self.codec = self._codec.name
        return True

    def _decode(self, packet: "Packet[AudioStream]") -> Iterator[AudioFrame]:
        try:
            frames = self._codec.decode(packet)
        except FFmpegError as error:
            self.error = self.error or f"a packet does not decode: {error.strerror}"
            if self.codec in _CHECKED and self.damage is None:
                self._fail_if_chained(error)
                self.damage = self.error
            return
        for frame in frames:
            held(frame.layout)
        yield from frames

    def _fail_if_chained(self, error: FFmpegError) -> None:
        """Refuse a chain of FLAC of several kinds: FFmpeg reads their packets as those of the first."""
        if self._container.format.name == "ogg" and len({link.kind for link in links(self._file)}) > 1:
            raise self.fail("unsupported", UNSUPPORTED) from error

    def check_pages(self) -> None:
        """Note in `damage` what the pages of an Ogg file show to be missing; reads the whole file.

        FFmpeg drops pages that fail their checksum without a word.
        """
        if self._container.format.name == "ogg":
            self.damage = self.damage or damage_of(self._file)

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


def _open_container(file: EncodedFile, name: str, skipped_bytes: int = 0) -> InputContainer:
    try:
        # Block all protocols, so that a playlist cannot make FFmpeg open anything but the given file.
        options = {"protocol_whitelist": "none", "max_probe_packets": _PROBED_PACKETS}
        options |= {"skip_initial_bytes": str(skipped_bytes)} if skipped_bytes else {}
        return av.open(file, mode="r", container_options=options, metadata_errors="replace")
    except PatchWelcomeError as error:
        raise AudioError("unsupported", "FFmpeg does not read this kind of header; encode it anew", name) from error
    except FFmpegError as error:
        file.seek(0)
        if has_audio_magic(file.read(16)):
            raise AudioError("corrupt", f"its header cannot be read: {error.strerror}", name) from error
        raise AudioError("not_audio", f"it is not recognised as audio: {error.strerror}", name) from error


def _part(frame: AudioFrame, begin: int, end: int) -> AudioFrame:
    """Keep the samples from `begin` to `end` of each channel of a frame; PCM and FLAC decode to packed frames."""
    if (begin, end) == (0, frame.samples):
        return frame
    channels = frame.layout.nb_channels
    samples: Any = np.ascontiguousarray(frame.to_ndarray()[:, begin * channels : end * channels])
    cut = AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout.name)
    cut.sample_rate = frame.sample_rate
    return cut
