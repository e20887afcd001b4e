"""Channel layouts of Apple's formats that FFmpeg has no name for, and other faults of its readers."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from struct import pack

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from unitlang.audio.reading import load, measure

LAYOUTS = {
    "film": (123, 6),
    "AAC": (124, 6),
    "7.1 C": (128, 8),
    "Emagic": (129, 8),
    "TMH": (145, 16),
    "B-format": (107, 4),
}
"""Layout tags of Core Audio (CoreAudioBaseTypes.h), and their numbers of channels."""


def with_layout(samples: NDArray[np.float64], tag: int, kind: str = "AIFF") -> bytes:
    """An AIFF or CAF with a chunk that names the layout."""
    file = BytesIO()
    soundfile.write(file, samples, 16_000, format=kind, subtype="PCM_16")
    data, layout = file.getvalue(), pack(">III", tag << 16 | samples.shape[1], 0, 0)
    if kind == "CAF":  # behind the chunk `desc`
        return data[:52] + b"chan" + pack(">Q", 12) + layout + data[52:]
    body = data[8:12] + b"CHAN" + pack(">I", 12) + layout + data[12:]
    return b"FORM" + pack(">I", len(body)) + body


@pytest.mark.parametrize("kind", ["AIFF", "CAF"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_channels_in_an_order_without_a_name_are_averaged(name: str, kind: str) -> None:
    tag, channels = LAYOUTS[name]
    samples = np.random.default_rng(0).normal(0, 0.1, (20_000, channels))
    data = with_layout(samples, tag, kind)
    np.testing.assert_allclose(load(data), samples.mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(load(data, channel=channels - 1), samples[:, -1], atol=1e-4)
    np.testing.assert_array_equal(load(data, offset_samples=5_000, num_samples=3_000), load(data)[5_000:8_000])
    assert measure(data)[1] == 20_000


def test_they_do_not_end_the_process(tmp_path: Path) -> None:
    """A layout that is freed twice ends it at any later time, at its exit at the latest."""
    samples = np.random.default_rng(0).normal(0, 0.1, (200_000, 8))
    (tmp_path / "a.aiff").write_bytes(with_layout(samples, 128))
    code = "import sys, unitlang.audio.reading as a\nfor _ in range(5): a.measure(sys.argv[1]); a.load(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.aiff"], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("length", [1, 2_400, 4_095, 4_096, 4_097, 9_000, 10_000])
def test_the_last_frame_of_alac_in_caf_is_whole(length: int) -> None:
    samples = (np.random.default_rng(0).normal(0, 0.1, length) * 2**15).astype(np.int16)
    file = BytesIO()
    with av.open(file, "w", format="caf") as container:
        stream = container.add_stream("alac", rate=16_000, layout="mono")
        stream.format = "s16p"
        for begin in range(0, length, 4_096):
            frame = av.AudioFrame.from_ndarray(samples[None, begin : begin + 4_096], format="s16p", layout="mono")
            frame.sample_rate, frame.pts = 16_000, begin
            container.mux(stream.encode(frame))
        container.mux([packet for packet in stream.encode(None) if packet.size])
    np.testing.assert_allclose(load(file.getvalue()), samples / 2**15, atol=1e-6)
    assert measure(file.getvalue())[1] == length
