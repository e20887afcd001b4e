"""w2v-BERT 2.0: parity with transformers, both frame rates, statistics and windows of long audio, hostile folders."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from tests.speech import voice
from tests.unitlang.features.hubert_models import noise
from tests.unitlang.features.w2v_bert_models import make_w2v_bert
from unitlang.errors import UnitlangError
from unitlang.features import EXTRACTORS, as_array
from unitlang.features.w2v_bert import LogMel, W2vBertConfig, W2vBertExtractor
from unitlang.frames import FrameGrid

if TYPE_CHECKING:
    from transformers import Wav2Vec2BertModel


def prepared(waveform_N: np.ndarray) -> Any:
    """Input and attention mask as transformers makes them of a whole utterance."""
    from transformers import SeamlessM4TFeatureExtractor

    return SeamlessM4TFeatureExtractor()(waveform_N, sampling_rate=16_000, return_tensors="pt")


def reference(model: "Wav2Vec2BertModel", waveform_N: np.ndarray, layer: int) -> np.ndarray:
    """Result of transformers; where the number of log-mel frames is odd its last frame is half padding, masked."""
    given = prepared(waveform_N)
    with torch.inference_mode():
        states = model(**given, output_hidden_states=True).hidden_states
    return states[layer][0][given.attention_mask[0].bool()].numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("w2v_bert")


@pytest.fixture(scope="module")
def model(folder: Path) -> "Wav2Vec2BertModel":
    return make_w2v_bert(folder)


@pytest.fixture(scope="module", params=[1, 2])
def cutting(model: "Wav2Vec2BertModel", folder: Path, request: pytest.FixtureRequest) -> W2vBertExtractor:
    """An extractor with windows of 2 s."""
    values = {"max_window_seconds": 2.0, "context_seconds": 0.4, "pool": request.param}
    return W2vBertConfig(checkpoint=str(folder), layer=2, **values).load()


@pytest.mark.parametrize("layer", [1, 3])
@pytest.mark.parametrize("positions", ["relative_key", "relative", "rotary", None])
def test_a_whole_utterance_is_as_in_transformers(positions: str | None, layer: int, tmp_path: Path) -> None:
    model = make_w2v_bert(tmp_path, position_embeddings_type=positions)
    extractor = W2vBertConfig(checkpoint=str(tmp_path), layer=layer).load()
    for samples in (20_123, 20_080):
        waveform_N = voice(2.0, seed=layer)[:samples]
        features_TD = extractor.extract(waveform_N)
        assert features_TD.shape == (extractor.grid.num_frames(samples), extractor.dim) == (62, 64)
        np.testing.assert_allclose(features_TD, reference(model, waveform_N, layer), rtol=0, atol=1e-5)


def test_heads_for_tasks_are_passed_over(model: "Wav2Vec2BertModel", folder: Path, tmp_path: Path) -> None:
    """As `Wav2Vec2BertForCTC` saves it, with an adapter behind the layers."""
    from transformers import Wav2Vec2BertForCTC

    settings = type(model.config)(**model.config.to_dict() | {"add_adapter": True, "vocab_size": 30})
    tuned = Wav2Vec2BertForCTC(settings)
    tuned.wav2vec2_bert.load_state_dict(model.state_dict(), strict=False)
    tuned.save_pretrained(tmp_path)
    found_TD = W2vBertConfig(checkpoint=str(tmp_path), layer=3).load().extract(noise(9_000))
    expected_TD = W2vBertConfig(checkpoint=str(folder), layer=3).load().extract(noise(9_000))
    np.testing.assert_array_equal(found_TD, expected_TD)


def test_log_mel_is_that_of_transformers() -> None:
    from transformers import SeamlessM4TFeatureExtractor

    waveform_N = np.concatenate([voice(1.0, seed=1), np.zeros(1_000, np.float32), 1e-3 * noise(5_000)])
    expected_LM = SeamlessM4TFeatureExtractor()._extract_fbank_features(waveform_N)  # pyright: ignore[reportPrivateUsage]
    np.testing.assert_allclose(LogMel(80)(waveform_N), expected_LM, rtol=0, atol=1e-5)


@pytest.mark.parametrize("samples", [400, 559, 560, 719, 720, 879, 880, 1_039, 1_199, 1_200, 1_520, 16_000, 16_161])
def test_the_grid_is_that_of_transformers(model: "Wav2Vec2BertModel", folder: Path, samples: int) -> None:
    config = W2vBertConfig(checkpoint=str(folder), layer=1)
    grids = [config.grid(), config.model_copy(update={"pool": 2}).grid()]
    assert grids == [FrameGrid(hop=320, view=560), FrameGrid(hop=640, view=880)]
    frames = int(prepared(noise(samples)).attention_mask.sum()) if samples > 400 else 0
    assert [grid.num_frames(samples) for grid in grids] == [frames, frames // 2]


@pytest.mark.parametrize("samples", [0, 559, 560, 879, 880, 1_199, 32_239, 32_240, 32_559, 32_560, 32_880, 99_999])
def test_long_audio_in_any_blocks(cutting: W2vBertExtractor, samples: int) -> None:
    waveform_N = noise(samples)
    whole_TD = cutting.extract(waveform_N)
    assert whole_TD.shape == (cutting.grid.num_frames(samples), 64)
    for size in (10_000, 33_333):
        parts = list(cutting.stream(waveform_N[i : i + size] for i in range(0, samples, size)))
        np.testing.assert_array_equal(np.concatenate([np.empty((0, 64), np.float32), *parts]), whole_TD)


def test_company_and_order_change_no_bit(cutting: W2vBertExtractor) -> None:
    waveforms = [voice(seconds, seed) for seed, seconds in enumerate([0.055, 7.3, 0.5, 2.0, 1.99, 3.1])]
    alone = [cutting.extract(waveform_N) for waveform_N in waveforms]
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4], [4]):
        found: dict[int, list[np.ndarray]] = {}
        for number, features_TD in cutting.stream_many((n, [waveforms[n]]) for n in order):
            found.setdefault(number, []).append(as_array(features_TD))
        assert sorted(found) == sorted(order)
        for number, parts in found.items():
            np.testing.assert_array_equal(np.concatenate(parts), alone[number])


@pytest.mark.parametrize("seconds", [1.0, 1.03, 7.0])
def test_pool_averages_pairs(model: "Wav2Vec2BertModel", folder: Path, seconds: float) -> None:
    """Also across windows: pairs begin at the same frames wherever the utterance is cut."""
    waveform_N = voice(seconds, seed=4)
    config = W2vBertConfig(checkpoint=str(folder), layer=3, max_window_seconds=2.0, context_seconds=0.4)
    each_TD = config.load().extract(waveform_N)
    pooled = config.model_copy(update={"pool": 2}).load()
    pooled_TD = pooled.extract(waveform_N)
    pairs_TD = each_TD[: len(each_TD) // 2 * 2].reshape(-1, 2, 64).mean(1)
    assert len(pooled_TD) == len(pairs_TD) == pooled.grid.num_frames(len(waveform_N))
    if seconds < 2:
        np.testing.assert_allclose(pooled_TD, pairs_TD, rtol=0, atol=1e-6)
    else:  # the last windows reach back to other frames
        np.testing.assert_allclose(pooled_TD[:100], pairs_TD[:100], rtol=0, atol=0.1)


def test_mel_bins_are_normalised_over_the_whole_utterance(model: "Wav2Vec2BertModel", folder: Path) -> None:
    """A quiet part and a loud one: away from the cut, windows give what the model gives that sees all at once."""
    quiet_N, loud_N = 0.01 * noise(10 * 16_000, 1), noise(10 * 16_000, 2)
    waveform_N = np.concatenate([quiet_N, loud_N])
    whole_TD = W2vBertConfig(checkpoint=str(folder), layer=1).load().extract(waveform_N)
    np.testing.assert_allclose(whole_TD, reference(model, waveform_N, 1), rtol=0, atol=1e-4)
    config = W2vBertConfig(checkpoint=str(folder), layer=1, max_window_seconds=5.0, context_seconds=1.0)
    cut_TD, alone_TD = (config.load().extract(wave_N) for wave_N in (waveform_N, quiet_N))
    middle = slice(50, 450)
    error, scale = np.abs(cut_TD - whole_TD)[middle].max(), np.abs(whole_TD).max()
    assert error < 0.1 * scale
    assert np.abs(alone_TD[middle] - whole_TD[middle]).max() > 0.3 * scale


def test_silence_is_finite(cutting: W2vBertExtractor) -> None:
    assert np.isfinite(cutting.extract(np.zeros(50_000, np.float32))).all()


def test_fingerprint(model: "Wav2Vec2BertModel", folder: Path, tmp_path: Path) -> None:
    config = W2vBertConfig(checkpoint=str(folder), layer=2)
    first = config.fingerprint()
    assert config.load().fingerprint() == first
    shutil.copytree(folder, tmp_path / "moved")
    moved = config.model_copy(update={"checkpoint": str(tmp_path / "moved")})
    assert moved.fingerprint() == first
    others = [{"layer": 1}, {"pool": 2}, {"max_window_seconds": 20.0}, {"context_seconds": 1.0}]
    prints = {first, *(config.model_copy(update=other).fingerprint() for other in others)}
    tensors = load_file(tmp_path / "moved/model.safetensors")
    tensors["feature_projection.projection.bias"] += 1
    save_file(tensors, tmp_path / "moved/model.safetensors", {"format": "pt"})
    assert len(prints | {moved.fingerprint()}) == 6


def test_the_callers_seed_is_left_alone(model: "Wav2Vec2BertModel", folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    W2vBertConfig(checkpoint=str(folder), layer=2).load().extract(noise(2_000))
    torch.testing.assert_close(torch.rand(3), expected)


def test_missing_files(model: "Wav2Vec2BertModel", folder: Path, tmp_path: Path) -> None:
    def missing(**values: object) -> list[tuple[str, str]]:
        return list(EXTRACTORS["w2v_bert"].missing_files(values, lambda path: str(tmp_path / path)))

    shutil.copytree(folder, tmp_path / "model")
    assert missing(checkpoint="model") == missing() == missing(checkpoint=5) == missing(checkpoint="") == []
    ((field, message),) = missing(checkpoint="absent")
    assert field == "checkpoint"
    assert f"no folder at {tmp_path}/absent: give the local Hugging Face folder of a `wav2vec2-bert` model" in message
    (tmp_path / "model/config.json").unlink()
    ((_, message),) = missing(checkpoint="model")
    assert f"{tmp_path}/model has no config.json" in message
    settled, line = W2vBertConfig(checkpoint="model", layer=1).settled(lambda path: str(tmp_path / path))
    assert (settled.checkpoint, line) == (str(tmp_path / "model"), None)


def test_user_errors(model: "Wav2Vec2BertModel", folder: Path, tmp_path: Path) -> None:
    def message(layer: int = 2) -> str:
        with pytest.raises(UnitlangError) as caught:
            W2vBertConfig(checkpoint=str(copy), layer=layer).load()
        return str(caught.value)

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")

    def damage(name: str, tensor: torch.Tensor | None) -> None:
        kept = {key: value for key, value in tensors.items() if key != name}
        save_file(kept | ({} if tensor is None else {name: tensor}), copy / "model.safetensors", {"format": "pt"})

    assert "the model has 3 layers: `layer: 4` does not exist" in message(4)
    name = "encoder.layers.1.ffn1.output_dense.weight"
    for value in (torch.nan, torch.inf):
        damaged = tensors[name].clone()
        damaged[5, 7] = value
        damage(name, damaged)
        assert f"tensor {name} holds NaN or infinite values" in message()
    assert np.isfinite(W2vBertConfig(checkpoint=str(copy), layer=1).load().extract(noise(2_000))).all()
    damage(name, None)
    assert name in message()
    damage(name, torch.ones(3, 3))
    assert "shapes do not fit" in message()
    settings = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(settings | {"feature_projection_input_dim": 161}))
    assert "feature_projection_input_dim" in message()
    (copy / "config.json").write_text(json.dumps(settings | {"model_type": "wav2vec2"}))
    assert "model_type is 'wav2vec2', not 'wav2vec2-bert'" in message()


def test_config_bounds() -> None:
    wrong: list[dict[str, object]] = [
        {"layer": 0},
        {"layer": 1, "pool": 3},
        {"layer": 1, "max_window_seconds": 5.0, "context_seconds": 2.5},
    ]
    for values in wrong:
        with pytest.raises(ValidationError, match=r"layer|pool|max_window_seconds"):
            W2vBertConfig.model_validate({"checkpoint": "x", **values})
