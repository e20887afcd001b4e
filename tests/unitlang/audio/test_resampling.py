"""Frames that need no resampler become what libswresample makes of them, bit by bit."""

import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from unitlang.audio.resampling import PLAIN, Resampler

RANDOM = np.random.default_rng(0)
SAMPLES = {
    np.int16: np.arange(-(2**15), 2**15),
    np.int32: np.concatenate([RANDOM.integers(-(2**31), 2**31, 60_000), [-(2**31), 2**31 - 1, 0, 1, -1, 2**24 + 1]]),
    np.float32: np.concatenate([RANDOM.normal(0, 1, 60_000), [np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, 1e-45]]),
}


def frame(name: str, samples: np.ndarray, rate: int) -> AudioFrame:
    made = AudioFrame.from_ndarray(samples[None], format=name, layout="mono")  # pyright: ignore[reportArgumentType]
    made.sample_rate = rate
    return made


def resampled(name: str, samples: np.ndarray, rate: int) -> np.ndarray:
    """Of two frames and what is left, by this project."""
    resampler = Resampler()
    half = len(samples) // 2
    frames = [frame(name, part, rate) for part in (samples[:half], samples[half:])]
    pieces = [piece for each in frames for piece in resampler.push(each)]
    return np.concatenate([piece.samples_N for piece in (*pieces, *resampler.flush())])


@pytest.mark.parametrize("name", PLAIN)
def test_mono_at_16_khz_is_what_libswresample_makes_of_it(name: str) -> None:
    kind = PLAIN[name][0]
    samples = SAMPLES[kind].astype(kind)  # pyright: ignore[reportArgumentType]
    usual = AudioResampler("fltp", "mono", 16_000)
    made = [*usual.resample(frame(name, samples, 16_000)), *usual.resample(None)]
    expected = np.concatenate([each.to_ndarray()[0] for each in made if each])
    np.testing.assert_array_equal(resampled(name, samples, 16_000).view(np.uint32), expected.view(np.uint32))


def test_a_frame_may_be_used_again_after_it_was_converted() -> None:
    samples = np.ones(400, np.float32)
    given = frame("fltp", samples, 16_000)
    (piece,) = Resampler().push(given)
    piece.samples_N[:] = 0
    np.testing.assert_array_equal(given.to_ndarray()[0], samples)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates_go_through_the_resampler(rate: int) -> None:
    samples = (10_000 * np.sin(np.arange(rate) / 20)).astype(np.int16)
    made = resampled("s16", samples, rate)
    assert len(made) == 16_000
    assert 0.25 < np.abs(made[1_000:-1_000]).max() < 0.35
