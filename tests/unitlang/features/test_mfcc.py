"""MFCC: the frame grid, fairseq's recipe, streaming; and the windows that all features share."""

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torchaudio

from unitlang.errors import UnitlangError
from unitlang.features import (
    FeatureExtractor,
    MfccConfig,
    MfccExtractor,
)
from unitlang.features.windows import windows
from unitlang.frames import HUBERT_GRID, FrameGrid


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=samples)).astype(np.float32)


def cut(waveform_N: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(waveform_N), size):
        yield waveform_N[start : start + size]


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return MfccConfig().load()


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 401, 719, 720, 1039, 1040, 16_000, 16_239, 16_240])
def test_frame_grid(extractor: FeatureExtractor, samples: int) -> None:
    features_TD = extractor.extract(noise(samples))
    assert features_TD.shape == (HUBERT_GRID.num_frames(samples), 39)
    assert features_TD.dtype == np.float32


def test_kaldi_settings_and_deltas(extractor: FeatureExtractor) -> None:
    waveform_N = noise(16_000)
    features_TD = extractor.extract(waveform_N)
    reference_TC = torchaudio.compliance.kaldi.mfcc(
        torch.from_numpy(waveform_N)[None],
        sample_frequency=16_000,
        use_energy=False,
        frame_shift=20.0,
        dither=0.0,
    ).numpy()
    np.testing.assert_array_equal(features_TD[:, :13], reference_TC)
    t, c = 20, reference_TC  # regression over two frames each side, as HTK and Kaldi define deltas
    delta_C = (c[t + 1] - c[t - 1] + 2 * (c[t + 2] - c[t - 2])) / 10
    np.testing.assert_allclose(features_TD[t, 13:26], delta_C, atol=1e-5)


@pytest.mark.parametrize("frames", [2999, 3000, 3001, 3002, 5992, 5993, 7000])
def test_streaming_equals_the_whole(frames: int) -> None:
    extractor = MfccExtractor(MfccConfig())
    waveform_N = noise((frames - 1) * 320 + 400 + 7)
    whole_TD = extractor._compute(waveform_N)  # pyright: ignore[reportPrivateUsage]
    blocks = list(extractor.stream(cut(waveform_N, 48_000)))
    streamed_TD = np.concatenate(blocks)
    assert streamed_TD.shape == whole_TD.shape
    np.testing.assert_allclose(streamed_TD, whole_TD, rtol=1e-4, atol=2e-4)
    for size in (1_000_003, 4_801):
        np.testing.assert_array_equal(np.concatenate(list(extractor.stream(cut(waveform_N, size)))), streamed_TD)
    np.testing.assert_array_equal(extractor.extract(waveform_N), streamed_TD)


def test_bad_waveforms(extractor: FeatureExtractor) -> None:
    with pytest.raises(UnitlangError, match="one-dimensional"):
        extractor.extract(np.zeros((2, 800), np.float32))
    for bad in (np.nan, np.inf):
        waveform_N = noise(800)
        waveform_N[5] = bad
        with pytest.raises(UnitlangError, match="NaN or infinite"):
            extractor.extract(waveform_N)


def test_fingerprint_is_stable_and_needs_no_torch(extractor: FeatureExtractor) -> None:
    assert extractor.fingerprint() == MfccConfig().fingerprint()
    program = (
        "import sys; from unitlang.features import *; "
        "print(MfccConfig().fingerprint()); assert not {'torch', 'torchaudio'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == extractor.fingerprint()


@pytest.mark.parametrize("grid", [HUBERT_GRID, FrameGrid(640, 720), FrameGrid(400, 160)], ids=str)
@pytest.mark.parametrize(("window_frames", "context_frames"), [(10, 3), (10, 0), (7, 3), (50, 5)])
def test_windows_cover_every_frame_once(grid: FrameGrid, window_frames: int, context_frames: int) -> None:
    for samples in range(0, 60_000, 1_601):
        waveform_N = np.arange(samples, dtype=np.float32)
        shapes: set[tuple[tuple[int, int, int], ...]] = set()
        for size in (samples or 1, 320, 7_777):
            blocks = cut(waveform_N, size)
            given = list(windows(blocks, grid=grid, window_frames=window_frames, context_frames=context_frames))
            shapes.add(tuple((int(w.waveform_N[0]), w.first, w.last) for w in given))
            kept = [int(w.waveform_N[0]) // grid.hop + t for w in given for t in range(w.first, w.last)]
            assert kept == list(range(grid.num_frames(samples)))
            for number, window in enumerate(given):
                np.testing.assert_array_equal(np.diff(window.waveform_N), 1)
                frames = grid.num_frames(len(window.waveform_N))
                assert frames == min(window_frames, grid.num_frames(samples))
                assert number == 0 or window.first >= context_frames
                assert number == len(given) - 1 or frames - window.last >= context_frames
        assert len(shapes) == 1


def test_memory_is_bounded() -> None:
    block_N = noise(160_000)
    tracemalloc.start()
    hour = (block_N for _ in range(360))
    for _ in windows(hour, grid=HUBERT_GRID, window_frames=3000, context_frames=250):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6  # bytes; the hour itself is 230e6
