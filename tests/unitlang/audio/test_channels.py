"""Channels: one of them, or all mixed unless they cancel each other."""

from io import BytesIO

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from unitlang.audio.reading import load, stream_segments
from unitlang.errors import AudioError

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(0, 0.1, (48_000, 4))
KINDS = {
    "wav": {"format": "WAV", "subtype": "PCM_16"},
    "u8": {"format": "WAV", "subtype": "PCM_U8"},
    "float": {"format": "WAV", "subtype": "FLOAT"},
    "flac": {"format": "FLAC"},
    "vorbis": {"format": "OGG"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3"},
}


def encode(samples: NDArray[np.float64], rate: int = 48_000, **kind: str) -> bytes:
    file = BytesIO()
    soundfile.write(file, samples, rate, **kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["wav", "u8", "float", "flac"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_channel_is_what_a_file_of_it_alone_gives(kind: str, channels: int, rate: int) -> None:
    data = encode(NOISE[:, :channels], rate, **KINDS[kind])
    for channel in range(channels):
        alone = load(encode(NOISE[:, channel], rate, **KINDS[kind]))
        np.testing.assert_allclose(load(data, channel=channel), alone, atol=2e-7)


@pytest.mark.parametrize("kind", ["vorbis", "opus", "mp3"])
def test_a_channel_of_a_lossy_codec(kind: str) -> None:
    quiet_right = NOISE[:, :2] * [1.0, 1e-4]
    data = encode(quiet_right, **KINDS[kind])
    left, right, mixed = (load(data, channel=channel) for channel in (0, 1, None))
    assert np.std(right) < 0.1 * np.std(left)
    np.testing.assert_allclose(mixed, left / 2, atol=0.02)


def test_a_channel_that_a_file_does_not_have() -> None:
    for channels, channel in ((1, 1), (2, 2), (2, 17), (2, -1)):
        with pytest.raises(AudioError, match=f"no channel {channel}: it has {channels}") as caught:
            load(encode(NOISE[:, :channels], **KINDS["wav"]), channel=channel)
        assert caught.value.reason == "no_channel"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "vorbis"])  # Vorbis loses phases
@pytest.mark.parametrize("noise", [0.0, 1e-3, 5e-3])
def test_channels_that_cancel_each_other(kind: str, noise: float) -> None:
    right = -NOISE[:, 0] + noise * NOISE[:, 1]
    data = encode(np.stack([NOISE[:, 0], right], axis=1), **KINDS[kind])
    with pytest.raises(AudioError, match="channel: 0") as caught:
        load(data)
    assert caught.value.reason == "antiphase"
    assert len(load(data, channel=0)) == pytest.approx(16_000, abs=400)


@pytest.mark.parametrize("channels", [4, 6, 8, 16])
@pytest.mark.parametrize("kind", ["wav", "u8", "float"])
def test_more_channels_without_positions(kind: str, channels: int) -> None:
    """Microphone arrays: pairs of reversed polarity are lost, all else is not."""
    wide = np.tile(NOISE[:, :1], (1, channels)) * 0.5
    reversed_pairs = wide * np.resize([1, -1], channels)
    with pytest.raises(AudioError, match="channel: 0") as caught:
        load(encode(reversed_pairs, **KINDS[kind]))
    assert caught.value.reason == "antiphase"
    independent = RANDOM.normal(0, 0.1, (48_000, channels))
    one_of_many = wide * np.eye(channels)[1]
    for sound in (wide, independent, one_of_many):
        assert len(load(encode(sound, **KINDS[kind]))) == 16_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["equal", "independent", "one silent", "both silent", "half reversed"])
def test_channels_that_do_not(kind: str, case: str) -> None:
    left = NOISE[:, 0]
    right = {
        "equal": left,
        "independent": NOISE[:, 1],
        "one silent": 0 * left,
        "both silent": 0 * left,
        "half reversed": -left / 2,
    }[case]
    if case == "both silent":
        left = 0 * left
    assert len(load(encode(np.stack([left, right], axis=1), **KINDS[kind]))) == pytest.approx(16_000, abs=400)


@pytest.mark.parametrize("kind", ["wav", "flac", "opus", "mp3"])
def test_a_segment_is_judged_alone(kind: str) -> None:
    """The second half of the file cancels; segments of the first are sound."""
    right = np.concatenate([NOISE[:24_000, 0], -NOISE[24_000:, 0]])
    data = encode(np.stack([NOISE[:, 0], right], axis=1), **KINDS[kind])
    ends: list[str | int] = []
    for blocks in stream_segments(data, [(0, 7_000), (9_000, 7_000), (1_000, 5_000)]):
        try:
            ends.append(sum(map(len, blocks)))
        except AudioError as error:
            ends.append(error.reason)
    assert ends == [7_000, "antiphase", 5_000]


@pytest.mark.parametrize("case", ["constants", "noise of silence", "noise under sound"])
def test_what_is_constant_or_inaudible_is_not_judged(case: str) -> None:
    left, right = {
        "constants": (NOISE[:, 0] / 10 + 0.4, NOISE[:, 0] / 10 - 0.4),
        "noise of silence": (NOISE[:, 0] * 1e-4, NOISE[:, 0] * -1e-4),
        "noise under sound": (NOISE[:, 0] + NOISE[:, 1] / 10, NOISE[:, 0] - NOISE[:, 1] / 10),
    }[case]
    for kind in ("float", "flac"):
        assert len(load(encode(np.stack([left, right], axis=1), **KINDS[kind]))) == 16_000


def test_joined_parts_that_lack_the_channel() -> None:
    """AAC in ADTS: a stereo part, then a mono part."""
    data = adts(NOISE[:, :2]) + adts(NOISE[:, :1])
    assert len(load(data)) == len(load(data, channel=0)) > 30_000
    with pytest.raises(AudioError, match="no channel 1: it has 1") as caught:
        load(data, channel=1)
    assert caught.value.reason == "no_channel"


def adts(samples: NDArray[np.float64]) -> bytes:
    """AAC frames, each with a header of its own."""
    file, layout = BytesIO(), "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(file, "w", format="adts") as container:
        stream = container.add_stream("aac", rate=48_000, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples.T.astype(np.float32, order="C"), format="fltp", layout=layout)
        frame.sample_rate = 48_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()
