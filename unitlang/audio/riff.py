"""RIFF/WAVE, its 64-bit forms and RIFX, and Sony Wave64: stated length, and the codec of PCM samples."""

from collections.abc import Iterator
from dataclasses import dataclass

from unitlang.audio.statement import NOTHING, SeekableFile, Statement, big, fixed_size, is_placeholder, little, read_at

_EXTENSIBLE = 0xFFFE
_CODECS = {
    (1, 1): "pcm_u8",
    (1, 2): "pcm_s16{}",
    (1, 3): "pcm_s24{}",
    (1, 4): "pcm_s32{}",
    (1, 8): "pcm_s64{}",
    (3, 4): "pcm_f32{}",
    (3, 8): "pcm_f64{}",
    (6, 1): "pcm_alaw",
    (7, 1): "pcm_mulaw",
}
"""FFmpeg's codecs by WAVE format tag (RFC 2361) and bytes of a sample; `{}`: little or big-endian."""


@dataclass(frozen=True)
class Samples:
    """Format of samples of a fixed size.

    Attributes:
        block: bytes of one sample of all channels.
        codec: FFmpeg's name of the codec; None if it has none.
    """

    block: int
    codec: str | None


def pcm_codec(file: SeekableFile, format_name: str) -> str | None:
    """Return FFmpeg's name of the codec that a WAVE header describes; None if it is compressed or another format.

    FFmpeg takes the valid bits of an extensible header for the size of a sample, and RIFX for little-endian. Samples
    with fewer valid bits than their container fill it from the top (Microsoft, "Multiple channel audio data and WAVE
    files"), so the container alone decides.
    """
    samples = next((_samples(file, body, byte_order) for body, byte_order in _formats(file, format_name)), None)
    return samples.codec if samples else None


def contradiction(file: SeekableFile, format_name: str) -> str | None:
    """Return what a WAVE header says against itself about the size of uncompressed samples; None if nothing.

    FFmpeg, like libsndfile, goes by channels and bits. If block size and bytes per second agree on another size,
    samples in larger containers, or of more or fewer channels, would become noise. FFmpeg's packets are some power of
    two of blocks; if one ends within a sample, the rest of it is lost, and what follows is noise.
    """
    for body, byte_order in _formats(file, format_name):
        number = big if byte_order == "be" else little
        fields = read_at(file, body, 16)
        tag, channels, block, bits = (number(fields[i : i + 2]) for i in (0, 2, 12, 14))
        rate, bytes_per_second = number(fields[4:8]), number(fields[8:12])
        sample = channels * -(-bits // 8)
        counts = sample and block and (bytes_per_second == rate * block or (block << 16) % sample)
        if counts and not _is_block(tag, channels, block, bits):
            return f"its header states {channels} channels of {bits} bits in blocks of {block} bytes"
        return None
    return None


def _is_block(tag: int, channels: int, block: int, bits: int) -> bool:
    """Return whether a block may be one sample of all channels.

    Some writers give one channel's size for two channels. 24 bits in 4 bytes of a plain header are the floats of Cool
    Edit to FFmpeg. Extensible headers may state valid bits in place of the container's.
    """
    width = -(-bits // 8)
    known = block == channels * width or (channels, block) == (2, width)
    if tag == _EXTENSIBLE:
        return known or (block % channels == 0 and width < block // channels <= 4)
    return known or tag not in (1, 3) or (tag, bits, block) == (1, 24, 4 * channels)


def _formats(file: SeekableFile, format_name: str) -> Iterator[tuple[int, str]]:
    """Byte positions and byte orders of the `fmt ` chunks; none in other formats."""
    chunks = {"wav": riff_chunks, "w64": w64_chunks}.get(format_name)
    return ((body, order) for name, _, body, order in (chunks(file) if chunks else ()) if name == b"fmt ")


def wav(file: SeekableFile) -> Statement:
    """RIFF/WAVE and its 64-bit forms (RF64, BW64: EBU Tech 3306), which keep the data size in `ds64`."""
    wide, block = 0, 0
    for name, size, body, byte_order in riff_chunks(file):
        if name == b"ds64":
            wide = little(read_at(file, body + 8, 8))
        elif name == b"fmt ":
            samples = _samples(file, body, byte_order)
            block = samples.block if samples else 0
        elif name == b"data":
            size = wide if size == 0xFFFFFFFF and 0 < wide < 1 << 63 else size
            return NOTHING if size < 1 << 32 and is_placeholder(size) else fixed_size(size, body, block)
    return NOTHING


def w64(file: SeekableFile) -> Statement:
    """Sony Wave64: 16-byte GUIDs, 64-bit sizes that include the 24-byte chunk head, chunks aligned to 8."""
    block = 0
    for name, size, body, byte_order in w64_chunks(file):
        if name == b"fmt ":
            samples = _samples(file, body, byte_order)
            block = samples.block if samples else 0
        elif name == b"data":
            return fixed_size(size - 24, body, block) if 24 < size < 1 << 63 else NOTHING
    return NOTHING


Chunk = tuple[bytes, int, int, str]
"""Name, stated size, byte position of the contents, byte order (`le` or `be`)."""


def riff_chunks(file: SeekableFile) -> Iterator[Chunk]:
    """The chunks of RIFF, RIFX, RF64 and BW64."""
    position = 12
    byte_order, number = ("be", big) if read_at(file, 0, 4) == b"RIFX" else ("le", little)
    while len(head := read_at(file, position, 8)) == 8:
        size, body = number(head[4:]), position + 8
        yield head[:4], size, body, byte_order
        position = body + size + size % 2


def w64_chunks(file: SeekableFile) -> Iterator[Chunk]:
    """The chunks of W64; their names are the first letters of GUIDs."""
    position = 40
    while len(head := read_at(file, position, 24)) == 24:
        size = little(head[16:])
        yield head[:4], size, position + 24, "le"
        position += max(24, -(-size // 8) * 8)


def _samples(file: SeekableFile, body: int, byte_order: str) -> Samples | None:
    """Format of samples that a `fmt ` chunk describes; None if they are compressed or the chunk is implausible."""
    number = big if byte_order == "be" else little
    fmt = read_at(file, body, 40)
    tag, channels, block, bits = (number(fmt[i : i + 2]) for i in (0, 2, 12, 14))
    width = -(-bits // 8)
    if tag == _EXTENSIBLE and channels:
        tag, width = number(fmt[24:28]), max(width, block // channels)
    if tag not in {known for known, _ in _CODECS} or not block or block != channels * width:
        return None
    codec = _CODECS.get((tag, width))
    return Samples(block, codec.format(byte_order) if codec else None)
