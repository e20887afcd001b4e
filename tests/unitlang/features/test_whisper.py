"""Whisper: parity with transformers, padding, windows of long audio, hostile folders; the real model where at hand."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.speech import voice
from tests.unitlang.features.hubert_models import noise
from tests.unitlang.features.whisper_models import POSITIONS, SIZES, make_whisper
from unitlang.errors import UnitlangError
from unitlang.features import EXTRACTORS, as_array
from unitlang.features.whisper import WHISPER_GRID, WhisperConfig, WhisperExtractor
from unitlang.quantizer.kmeans import fit_kmeans
from unitlang.quantizer.quantizer import Quantizer

if TYPE_CHECKING:
    from transformers import WhisperModel


def reference(model: "WhisperModel", waveform_N: np.ndarray, layer: int) -> np.ndarray:
    """Result of transformers for a full window: output of a layer before the final norm, caught by a hook."""
    from transformers import WhisperFeatureExtractor

    settings = model.config
    seconds = settings.max_source_positions * WHISPER_GRID.hop // 16_000
    log_mel = WhisperFeatureExtractor(feature_size=settings.num_mel_bins, chunk_length=seconds)
    caught: list[torch.Tensor] = []
    hook = model.encoder.layers[layer - 1].register_forward_hook(lambda _m, _i, out: caught.append(out[0]))
    mel = torch.from_numpy(log_mel(waveform_N, sampling_rate=16_000, return_tensors="np").input_features)
    with torch.inference_mode():
        states = model.encoder(mel, output_hidden_states=True).hidden_states
        final = model.encoder.layer_norm(caught[0]) if layer == len(model.encoder.layers) else caught[0]
    hook.remove()
    torch.testing.assert_close(states[layer], final)
    return caught[0][0].numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whisper")


@pytest.fixture(scope="module")
def model(folder: Path) -> "WhisperModel":
    return make_whisper(folder)


@pytest.fixture(scope="module")
def extractor(model: "WhisperModel", folder: Path) -> WhisperExtractor:
    return WhisperConfig(checkpoint=str(folder), layer=2, context_seconds=0.4).load()


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Path:
    path = shared_data / "models/whisper-tiny.en"
    if not path.is_dir():
        pytest.skip(f"the real Whisper tiny.en is not at {path}")
    return path


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("mels", [80, 128])
def test_a_full_window_is_as_in_transformers(layer: int, mels: int, tmp_path: Path) -> None:
    model = make_whisper(tmp_path, num_mel_bins=mels)
    extractor = WhisperConfig(checkpoint=str(tmp_path), layer=layer, context_seconds=0.5).load()
    waveform_N = voice(2.0, seed=layer)
    features_TD = extractor.extract(waveform_N)
    assert features_TD.shape == (POSITIONS, extractor.dim) == (100, 64)
    np.testing.assert_allclose(features_TD, reference(model, waveform_N, layer), rtol=0, atol=1e-4)


@pytest.mark.parametrize("layer", [1, 3, 4])
def test_the_real_encoder_is_as_in_transformers(real: Path, layer: int) -> None:
    from transformers import WhisperModel

    model = WhisperModel.from_pretrained(real, dtype=torch.float32, local_files_only=True).eval()
    waveform_N = voice(30.0, seed=1)
    features_TD = WhisperConfig(checkpoint=str(real), layer=layer).load().extract(waveform_N)
    np.testing.assert_allclose(features_TD, reference(model, waveform_N, layer), rtol=0, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 319, 320, 321, 639, 640, 5_000, 31_999, 32_000, 32_319, 32_320, 100_001])
def test_a_frame_for_each_whole_hop_in_any_blocks(extractor: WhisperExtractor, samples: int) -> None:
    waveform_N = noise(samples)
    whole_TD = extractor.extract(waveform_N)
    assert whole_TD.shape == (samples // 320, 64)
    assert extractor.grid.num_frames(samples) == samples // 320
    for size in (10_000, 33_333):
        parts = list(extractor.stream(waveform_N[i : i + size] for i in range(0, samples, size)))
        assert sum(map(len, parts)) == len(whole_TD)
        np.testing.assert_array_equal(np.concatenate([np.empty((0, 64), np.float32), *parts]), whole_TD)


def test_company_and_order_change_no_bit(extractor: WhisperExtractor) -> None:
    waveforms = [voice(seconds, seed) for seed, seconds in enumerate([0.02, 7.3, 0.5, 2.0, 1.99, 3.1])]
    alone = [extractor.extract(waveform_N) for waveform_N in waveforms]
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4], [4]):
        found: dict[int, list[np.ndarray]] = {}
        for number, features_TD in extractor.stream_many((n, [waveforms[n]]) for n in order):
            found.setdefault(number, []).append(as_array(features_TD))
        assert sorted(found) == sorted(order)
        for number, parts in found.items():
            np.testing.assert_array_equal(np.concatenate(parts), alone[number])


def test_no_padding_is_seen(model: "WhisperModel", extractor: WhisperExtractor) -> None:
    """The encoder with as many positions as the utterance has frames, on the log-mel of the padded window, cut."""
    from transformers import WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    waveform_N = voice(1.1, seed=3)
    log_mel = WhisperFeatureExtractor(chunk_length=2)
    mel = torch.from_numpy(log_mel(waveform_N, sampling_rate=16_000, return_tensors="np").input_features)
    settings = type(model.config)(**SIZES | {"max_source_positions": 55, "encoder_layers": 2})
    short = WhisperEncoder(settings).eval()
    state = {name: model.encoder.state_dict()[name] for name in short.state_dict()}
    short.load_state_dict(state | {"embed_positions.weight": state["embed_positions.weight"][:55]})
    caught: list[torch.Tensor] = []
    short.layers[1].register_forward_hook(lambda _m, _i, out: caught.append(out[0]))
    with torch.inference_mode():
        short(mel[:, :, :110])
    np.testing.assert_allclose(extractor.extract(waveform_N), caught[0][0].numpy(), rtol=0, atol=1e-5)


def test_each_window_has_its_own_floor(extractor: WhisperExtractor) -> None:
    """A loud part lifts the floor of the windows that see it, and of no other: frames from 140 on see none of it."""
    quiet_N = 1e-5 * voice(8.0, seed=2)
    loud_N = quiet_N.copy()
    loud_N[:32_000] = voice(2.0, seed=1)
    quiet_TD, loud_TD = extractor.extract(quiet_N), extractor.extract(loud_N)
    np.testing.assert_array_equal(quiet_TD[140:], loud_TD[140:])
    assert np.abs(quiet_TD[110:140] - loud_TD[110:140]).max() > 0.1


@pytest.mark.slow
def test_context_makes_windows_agree(real: Path, shared_data: Path) -> None:
    """The longer the overlap, the nearer to the longest one; the default changes few units of real speech."""
    from unitlang.audio.reading import load

    clips = sorted((shared_data / "prompts/en").glob("demo-*.flac"))
    waveform_N = np.concatenate([load(clip) for clip in clips])[: 70 * 16_000]
    assert len(waveform_N) > 60 * 16_000
    config = WhisperConfig(checkpoint=str(real), layer=3, context_seconds=14.0)
    longest_TD = config.load().extract(waveform_N)
    quantizer = Quantizer(config.load(), fit_kmeans(longest_TD, 50, seed=0, iterations=5), "test")
    units_T = quantizer.assign(longest_TD)
    changed: list[float] = []
    for context in (0.0, 5.0):
        features_TD = config.model_copy(update={"context_seconds": context}).load().extract(waveform_N)
        changed.append(float((quantizer.assign(features_TD) != units_T).mean()))
    assert changed[1] < 0.05
    assert changed[1] <= changed[0]


def test_fingerprint(model: "WhisperModel", folder: Path, tmp_path: Path) -> None:
    config = WhisperConfig(checkpoint=str(folder), layer=2)
    first = config.fingerprint()
    assert WhisperConfig(checkpoint=str(folder), layer=2, context_seconds=0.9).load().fingerprint() != first
    shutil.copytree(folder, tmp_path / "moved")
    moved = config.model_copy(update={"checkpoint": str(tmp_path / "moved")})
    assert moved.fingerprint() == first
    prints = {first, config.model_copy(update={"layer": 1}).fingerprint()}
    tensors = load_file(tmp_path / "moved/model.safetensors")
    tensors["encoder.conv1.bias"] += 1
    save_file(tensors, tmp_path / "moved/model.safetensors", {"format": "pt"})
    assert len(prints | {moved.fingerprint()}) == 3


def test_the_callers_seed_is_left_alone(model: "WhisperModel", folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    WhisperConfig(checkpoint=str(folder), layer=1, context_seconds=0.1).load()
    torch.testing.assert_close(torch.rand(3), expected)


def test_missing_files(model: "WhisperModel", folder: Path, tmp_path: Path) -> None:
    def missing(**values: object) -> list[tuple[str, str]]:
        return list(EXTRACTORS["whisper"].missing_files(values, lambda path: str(tmp_path / path)))

    shutil.copytree(folder, tmp_path / "tiny")
    assert missing(checkpoint="tiny") == []
    assert missing() == missing(checkpoint=5) == missing(checkpoint="") == []
    ((field, message),) = missing(checkpoint="absent")
    assert field == "checkpoint"
    assert f"no folder at {tmp_path}/absent: give the local Hugging Face folder of a `whisper` model" in message
    (tmp_path / "tiny/model.safetensors").unlink()
    ((_, message),) = missing(checkpoint="tiny")
    assert f"{tmp_path}/tiny has no model.safetensors" in message
    settled, line = WhisperConfig(checkpoint="tiny", layer=1).settled(lambda path: str(tmp_path / path))
    assert (settled.checkpoint, line) == (str(tmp_path / "tiny"), None)


def test_user_errors(model: "WhisperModel", folder: Path, tmp_path: Path) -> None:
    def message(layer: int = 1, **settings: Any) -> str:
        with pytest.raises(UnitlangError) as caught:
            WhisperConfig(**{"checkpoint": str(copy), "layer": layer, "context_seconds": 0.5} | settings).load()
        return str(caught.value)

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    written = json.loads((copy / "config.json").read_text())
    tensors = load_file(copy / "model.safetensors")

    def damage(name: str, tensor: torch.Tensor | None) -> None:
        kept = {key: value for key, value in tensors.items() if key != name}
        save_file(kept | ({} if tensor is None else {name: tensor}), copy / "model.safetensors", {"format": "pt"})

    assert "the model has 3 layers: `layer: 4` does not exist" in message(4)
    assert "context_seconds" in message(context_seconds=1.0)
    assert "no folder at" in message(checkpoint=str(copy / "config.json"))
    name = "encoder.layers.0.self_attn.q_proj.weight"
    for value in (torch.nan, torch.inf):
        damaged = tensors[name].clone()
        damaged[5, 7] = value
        damage(name, damaged)
        assert f"tensor {name} holds NaN or infinite values" in message()
    damage(name, None)
    assert name in message()
    damage(name, torch.ones(3, 3))
    assert "shapes do not fit" in message()
    (copy / "model.safetensors").write_bytes(b"text")
    assert "is not a safetensors file" in message()
    (copy / "config.json").write_text(json.dumps(written | {"model_type": "hubert"}))
    assert "model_type is 'hubert', not 'whisper'" in message()
    del written["encoder_layers"]
    (copy / "config.json").write_text(json.dumps(written))
    assert "encoder_layers" in message()
    (copy / "config.json").write_text("[]")
    assert f"{copy}/config.json is not a JSON object" in message() or "model_type is None" in message()


def test_later_layers_may_be_damaged(model: "WhisperModel", folder: Path, tmp_path: Path) -> None:
    """They are not loaded."""
    shutil.copytree(folder, tmp_path / "copy")
    tensors = load_file(tmp_path / "copy/model.safetensors")
    tensors["encoder.layers.2.fc1.weight"] *= torch.nan
    save_file(tensors, tmp_path / "copy/model.safetensors", {"format": "pt"})
    config = WhisperConfig(checkpoint=str(tmp_path / "copy"), layer=2, context_seconds=0.4)
    assert np.isfinite(config.load().extract(noise(9_000))).all()
    with pytest.raises(UnitlangError, match=r"layers\.2\.fc1"):
        config.model_copy(update={"layer": 3}).load()


def test_config_bounds() -> None:
    for wrong in ({"layer": 0}, {"layer": 1, "context_seconds": 15.0}, {"layer": 1, "checkpoint": ""}):
        with pytest.raises(ValueError, match=r"layer|context_seconds|checkpoint"):
            WhisperConfig.model_validate({"checkpoint": "x", **wrong})
