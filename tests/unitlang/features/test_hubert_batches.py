"""Neither the rest of a batch nor the cuts of a long utterance change its units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unitlang.features.hubert_models import BASE, LARGE, make_model, noise, reference
from unitlang.features import HubertConfig, HubertExtractor
from unitlang.features.batches import batches
from unitlang.features.hubert_parts.positions import PositionalConvolution
from unitlang.features.windows import Window
from unitlang.frames import HUBERT_GRID, SAMPLE_RATE
from unitlang.precision import full_precision
from unitlang.quantizer.quantizer import Quantizer

LONGEST = 40 * SAMPLE_RATE
MIXES = 200
UTTERANCES = 30
SMALLER = {"hidden_size": 32, "intermediate_size": 48, "conv_dim": (16,) * 7}


@pytest.fixture(scope="module", params=[BASE, LARGE], ids=["base", "large"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hubert")
    make_model(request.param | SMALLER).save_pretrained(path)
    return path


def speechlike(samples: int, seed: int) -> np.ndarray:
    """Noise whose level rises and falls, so that pieces of it have other statistics than the whole."""
    level = 0.02 + 0.5 * np.abs(np.sin(np.arange(samples) * (2 + seed % 5) / SAMPLE_RATE + seed))
    return (level * noise(samples, seed)).astype(np.float32)


@pytest.fixture(scope="module")
def utterances() -> list[np.ndarray]:
    """One frame to 40 s, all octaves alike."""
    lengths = np.geomspace(400, LONGEST, UTTERANCES).astype(int)
    return [speechlike(int(length), seed) for seed, length in enumerate(lengths)]


def together(extractor: HubertExtractor, waveforms: list[np.ndarray]) -> list[np.ndarray]:
    """Features of the waveforms in one batch, however unlike their lengths are."""
    windows = [window for _, window in extractor.cut((None, [wave]) for wave in waveforms)]
    return [features_TD.numpy() for features_TD in extractor.compute(extractor.prepare(windows))]


@pytest.mark.slow
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_batch_changes_nothing(folder: Path, utterances: list[np.ndarray], layer: int) -> None:
    extractor = HubertExtractor(HubertConfig(checkpoint=str(folder), layer=layer))
    alone = [extractor.extract(waveform_N) for waveform_N in utterances]
    rng = np.random.default_rng(layer)
    frames = np.concatenate(alone)
    quantizer = Quantizer(extractor, frames[rng.choice(len(frames), 100, replace=False)], "test")
    for _ in range(MIXES // 6 + 1):  # for each model and layer: 200 and more in all
        chosen = rng.choice(UTTERANCES, rng.integers(2, 5), replace=False)
        for number, features_TD in zip(chosen, together(extractor, [utterances[n] for n in chosen]), strict=True):
            assert len(features_TD) == HUBERT_GRID.num_frames(len(utterances[number]))
            difference = np.abs(features_TD - alone[number]).max() / np.abs(alone[number]).max()
            assert difference <= 1e-5, f"utterance {number} in {chosen}: {difference}"
            np.testing.assert_array_equal(quantizer.assign(features_TD), quantizer.assign(alone[number]))


@pytest.mark.slow
def test_many_are_as_each_alone(folder: Path, utterances: list[np.ndarray]) -> None:
    config = HubertConfig(checkpoint=str(folder), layer=2, max_window_seconds=10.0, context_seconds=1.0)
    extractor = HubertExtractor(config)
    parts: dict[int, list[np.ndarray]] = {}
    for number, features_TD in extractor.stream_many((n, [wave]) for n, wave in enumerate(utterances)):
        parts.setdefault(number, []).append(features_TD.numpy())
    for number, waveform_N in enumerate(utterances):
        expected_TD = extractor.extract(waveform_N)
        np.testing.assert_allclose(np.concatenate(parts[number]), expected_TD, rtol=0, atol=1e-5 * 10)


@pytest.mark.slow
def test_a_long_utterance_is_cut_without_harm(folder: Path) -> None:
    """The model is random: its attention reaches further than a trained one's."""
    waveform_N = speechlike(60 * SAMPLE_RATE, 3)
    whole = HubertExtractor(HubertConfig(checkpoint=str(folder), layer=3))
    config = HubertConfig(checkpoint=str(folder), layer=3, max_window_seconds=20.0, context_seconds=5.0)
    whole_TD, cut_TD = whole.extract(waveform_N), HubertExtractor(config).extract(waveform_N)
    assert whole_TD.shape == cut_TD.shape
    quantizer = Quantizer(whole, whole_TD[:: len(whole_TD) // 100][:100], "test")
    changed = (quantizer.assign(whole_TD) != quantizer.assign(cut_TD)).mean()
    assert changed < 0.01


@pytest.mark.slow
def test_the_level_of_a_long_utterance_is_that_of_all_of_it(folder: Path) -> None:
    """A quiet half and a loud one: normalised each by itself they would come out alike."""
    quiet_N, loud_N = 0.01 * noise(10 * SAMPLE_RATE, 1), noise(10 * SAMPLE_RATE, 2)
    config = HubertConfig(checkpoint=str(folder), layer=1, max_window_seconds=5.0, context_seconds=1.0)
    cut = HubertExtractor(config)
    whole = HubertExtractor(config.model_copy(update={"max_window_seconds": 60.0}))
    waveform_N = np.concatenate([quiet_N, loud_N])
    expected_TD = whole.extract(waveform_N)
    scale = np.abs(expected_TD).max()
    middle = slice(50, 450)  # away from the change, where the contexts differ
    assert np.abs(cut.extract(waveform_N) - expected_TD)[middle].max() < 0.05 * scale
    assert np.abs(cut.extract(quiet_N)[:450] - expected_TD[:450])[middle].max() > 0.2 * scale


@pytest.mark.slow
@pytest.mark.parametrize("frames", [1, 2, 3, 99, 100, 101, 201, 312])
@pytest.mark.parametrize("settings", [BASE, LARGE], ids=["base", "large"])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_chunks_are_as_transformers_computes_the_whole(
    settings: dict[str, Any], frames: int, offset: float, tmp_path: Path
) -> None:
    """Lengths around borders of chunks; an offset shows what zeros after the end would do to the last frame."""
    model = make_model(settings)
    model.save_pretrained(tmp_path)
    waveform_N = speechlike(320 * frames + 80 + frames % 7 * 45, frames) + np.float32(offset)
    extractor = HubertExtractor(HubertConfig(checkpoint=str(tmp_path), layer=2))
    expected_TD = reference(model, waveform_N, 2, normalize=settings is LARGE)
    found_TD = extractor.extract(waveform_N)
    assert len(found_TD) == frames
    np.testing.assert_allclose(
        found_TD, expected_TD, rtol=0, atol=(1e-4 if offset else 1e-5) * np.abs(expected_TD).max()
    )


@pytest.mark.parametrize(("taps", "frames"), [(128, [1, 400, 129]), (128, [130]), (15, [5, 16, 17]), (1, [3])])
def test_positions_are_those_of_the_convolution(taps: int, frames: list[int]) -> None:
    torch.manual_seed(0)
    convolution = torch.nn.Conv1d(32, 32, taps, padding=taps // 2, groups=4)
    x_TD = torch.randn(sum(frames), 32)
    with torch.inference_mode():
        found_TD = PositionalConvolution(convolution)(x_TD, frames)
        each = [convolution(part_TD.T)[:, : len(part_TD)].T for part_TD in x_TD.split(frames)]
    torch.testing.assert_close(found_TD, torch.nn.functional.gelu(torch.cat(each)), rtol=0, atol=2e-6)


def test_products_stay_in_float32_where_a_program_allows_less() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def window(samples: int) -> Window:
    return Window(np.zeros(samples, np.float32), 0, HUBERT_GRID.num_frames(samples))


def test_batches_hold_everything_in_order_within_bounds() -> None:
    rng = np.random.default_rng(0)
    lengths = [*rng.integers(400, 100_000, 500), 900_000, *[64_000] * 20]
    items = [(number, window(int(length))) for number, length in enumerate(lengths)]
    made = list(batches(iter(items), 320_000))
    assert [number for batch in made for number, _ in batch] == list(range(len(items)))
    sizes = [sum(len(w.waveform_N) for _, w in batch) for batch in made]
    assert all(size <= 320_000 or len(batch) == 1 for size, batch in zip(sizes, made, strict=True))
    assert all(size + len(after[0][1].waveform_N) > 320_000 for size, after in zip(sizes, made[1:], strict=False))


@pytest.mark.slow
def test_bf16_is_another_quantizer(folder: Path) -> None:
    configs = [HubertConfig(checkpoint=str(folder), layer=2, precision=p) for p in ("fp32", "bf16", "auto")]
    fp32, bf16, auto = (HubertExtractor(config) for config in configs)
    assert fp32.fingerprint() != bf16.fingerprint()
    assert auto.config.precision in ("fp32", "bf16")
    assert auto.fingerprint() == (fp32 if auto.config.precision == "fp32" else bf16).fingerprint()
    waveforms = [noise(50_000), noise(400), noise(9_999)]
    for waveform_N, rough_TD in zip(waveforms, together(bf16, waveforms), strict=True):
        expected_TD = fp32.extract(waveform_N)
        error = np.linalg.norm(rough_TD - expected_TD) / np.linalg.norm(expected_TD)
        assert 1e-4 < error < 0.03
        assert rough_TD.dtype == np.float32
    assert torch.get_default_dtype() == torch.float32
