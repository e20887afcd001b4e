"""HuBERT: parity with transformers and torchaudio, every checkpoint layout, long audio, hostile files."""

# pyright: reportDeprecated=false

import argparse
import copy
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torchaudio.models import wav2vec2_model

from tests.unitlang.features.hubert_models import BASE, LARGE, make_model, noise, reference
from unitlang.errors import UnitlangError
from unitlang.features import HubertConfig
from unitlang.frames import HUBERT_GRID

if TYPE_CHECKING:
    from transformers import HubertModel


def fairseq_names(model: "HubertModel") -> dict[str, torch.Tensor]:
    """The tensors as fairseq's `HubertModel.state_dict()` names them."""
    norm = r"\1.2.1." if model.config.feat_extract_norm == "layer" else r"\1.2."
    names = (
        (r"^(feature_extractor\.conv_layers\.\d+)\.conv\.", r"\1.0."),
        (r"^(feature_extractor\.conv_layers\.\d+)\.layer_norm\.", norm),
        (r"^feature_projection\.projection\.", "post_extract_proj."),
        (r"^feature_projection\.layer_norm\.", "layer_norm."),
        (r"pos_conv_embed\.conv\.", "pos_conv.0."),
        (r"parametrizations\.weight\.original0$", "weight_g"),
        (r"parametrizations\.weight\.original1$", "weight_v"),
        (r"^(encoder\.layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
        (r"\.attention\.", ".self_attn."),
        (r"feed_forward\.intermediate_dense", "fc1"),
        (r"feed_forward\.output_dense", "fc2"),
        (r"masked_spec_embed", "mask_emb"),
    )
    renamed: dict[str, torch.Tensor] = {}
    for key, value in model.state_dict().items():
        for pattern, replacement in names:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    return renamed | {"final_proj.weight": torch.ones(2, 2), "label_embs_concat": torch.ones(2, 2)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("base")


@pytest.fixture(scope="module")
def base(folder: Path) -> "HubertModel":
    model = make_model(BASE)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("normalize", [None, True, False])
@pytest.mark.parametrize("settings", [BASE, LARGE], ids=["base", "large"])
def test_hugging_face(settings: dict[str, Any], normalize: bool | None, layer: int, tmp_path: Path) -> None:
    model = make_model(settings)
    model.save_pretrained(tmp_path)
    if normalize is None:
        expected = settings is LARGE
    else:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": normalize}))
        expected = normalize
    extractor = HubertConfig(checkpoint=str(tmp_path), layer=layer).load()
    waveform_N = noise(20_123)
    features_TD = extractor.extract(waveform_N)
    assert features_TD.shape == (HUBERT_GRID.num_frames(20_123), extractor.dim) == (62, 128)
    np.testing.assert_allclose(
        features_TD, reference(model, waveform_N, layer, normalize=expected), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("settings", [BASE, LARGE], ids=["base", "large"])
def test_every_layout_gives_the_same(settings: dict[str, Any], tmp_path: Path) -> None:
    model = make_model(settings)
    waveform_N = noise(9_000)
    expected = reference(model, waveform_N, 2, normalize=settings is LARGE)
    fairseq = fairseq_names(model)
    model_cfg = {"encoder_attention_heads": 2, "layer_norm_first": settings is LARGE}
    cfg = {"model": model_cfg, "task": {"normalize": settings is LARGE}}
    args = argparse.Namespace(**model_cfg, normalize=settings is LARGE)
    torch.save({"model": fairseq, "cfg": cfg, "args": None}, tmp_path / "cfg.pt")
    torch.save({"model": fairseq, "args": args}, tmp_path / "args.pt")
    torch.save({"model": fairseq, "args": args}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({f"w2v_encoder.w2v_model.{k}": v for k, v in fairseq.items()}, tmp_path / "tuned.pt")
    torch.save(model.state_dict(), tmp_path / "hf.pt")
    torch.save({k: v.double() for k, v in model.state_dict().items()}, tmp_path / "double.bin")
    model.save_pretrained(tmp_path / "bin", safe_serialization=False)
    model.save_pretrained(tmp_path / "safe")
    (tmp_path / "safe/model.safetensors").rename(tmp_path / "single.safetensors")
    layouts = ["cfg.pt", "args.pt", "old.pt", "tuned.pt", "hf.pt", "double.bin", "bin", "single.safetensors"]
    for name in layouts:
        features_TD = HubertConfig(checkpoint=str(tmp_path / name), layer=2).load().extract(waveform_N)
        np.testing.assert_allclose(features_TD, expected, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("pretraining", [False, True])
def test_torchaudio(large: bool, pretraining: bool, tmp_path: Path) -> None:
    shapes = [(32, 10, 5), *[(32, 3, 2)] * 4, *[(32, 2, 2)] * 2]
    torch.manual_seed(0)
    model = wav2vec2_model(
        "layer_norm" if large else "group_norm",
        shapes,
        large,
        128,
        0.0,
        16,
        4,
        3,
        2,
        0.0,
        96,
        0.0,
        0.0,
        large,
        0.0,
        None,
    ).eval()
    state = model.state_dict()
    if pretraining:
        state = {f"wav2vec2.{key}": value for key, value in state.items()} | {"logit_generator.x": torch.ones(1)}
    torch.save({"state_dict": state} if pretraining else state, tmp_path / "ta.pt")
    waveform = torch.from_numpy(noise(9_000))[None]
    with torch.inference_mode():
        given = torch.nn.functional.layer_norm(waveform, waveform.shape) if large else waveform
        layers, _ = model.extract_features(given)
    for layer in (1, 3):
        extractor = HubertConfig(checkpoint=str(tmp_path / "ta.pt"), layer=layer).load()
        np.testing.assert_allclose(extractor.extract(waveform[0].numpy()), layers[layer - 1][0], atol=1e-5)


@pytest.mark.slow
def test_base_width(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shapes = [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
    model = wav2vec2_model(
        "group_norm", shapes, False, 768, 0.0, 128, 16, 1, 12, 0.0, 3072, 0.0, 0.0, False, 0.0, None
    ).eval()
    torch.save(model.state_dict(), tmp_path / "base.pt")  # tells its 12 heads by its width alone
    extractor = HubertConfig(checkpoint=str(tmp_path / "base.pt"), layer=1).load()
    waveform_N = noise(8_000)
    with torch.inference_mode():
        layers, _ = model.extract_features(torch.from_numpy(waveform_N)[None])
    np.testing.assert_allclose(extractor.extract(waveform_N), layers[0][0], rtol=1e-4, atol=1e-5)


def test_the_callers_seed_is_left_alone(base: "HubertModel", folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    HubertConfig(checkpoint=str(folder), layer=1).load()
    torch.testing.assert_close(torch.rand(3), expected)


@pytest.fixture(scope="module")
def cutting_extractor(base: "HubertModel", folder: Path) -> Any:
    config = HubertConfig(checkpoint=str(folder), layer=2, max_window_seconds=2.0, context_seconds=0.4)
    return config.load()


@pytest.mark.parametrize("samples", [0, 399, 400, 719, 720, 32_079, 32_399, 32_400, 100_000])
def test_long_audio_in_any_blocks(base: "HubertModel", cutting_extractor: Any, samples: int) -> None:
    extractor = cutting_extractor
    waveform_N = noise(samples)
    whole_TD = extractor.extract(waveform_N)
    assert whole_TD.shape == (HUBERT_GRID.num_frames(samples), 128)
    for size in (10_000, 33_333):
        parts = list(extractor.stream(waveform_N[i : i + size] for i in range(0, samples, size)))
        if samples >= 400:
            np.testing.assert_array_equal(np.concatenate(parts), whole_TD)
    if 400 <= samples < 32_400:  # up to 100 frames: one window
        np.testing.assert_allclose(whole_TD, reference(base, waveform_N, 2, normalize=False), atol=1e-5)


def test_fingerprint(base: "HubertModel", folder: Path, tmp_path: Path) -> None:
    config = HubertConfig(checkpoint=str(folder), layer=2)
    base.save_pretrained(tmp_path)
    print_ = config.fingerprint()
    assert config.load().fingerprint() == print_
    moved = config.model_copy(update={"checkpoint": str(tmp_path), "download": True})
    assert moved.fingerprint() == print_
    others = [{"layer": 1}, {"max_window_seconds": 30.0}, {"context_seconds": 1.0}]
    prints = {print_, *(config.model_copy(update=other).fingerprint() for other in others)}
    changed = copy.deepcopy(base)
    torch.nn.init.zeros_(changed.encoder.layer_norm.bias)
    changed.save_pretrained(tmp_path)
    prints.add(moved.fingerprint())
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": true}')
    assert len(prints | {moved.fingerprint()}) == 6


class Call:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_refused(base: "HubertModel", zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "hostile.pt"
    content = {"model": fairseq_names(base), "args": Call(tmp_path / "executed")}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnitlangError, match="could run code"):
        HubertConfig(checkpoint=str(path), layer=1).load()
    assert not (tmp_path / "executed").exists()


def test_fairseq_dictionaries_are_passed_over(
    base: "HubertModel", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    import types

    module = types.ModuleType("fairseq.data.dictionary")
    dictionary = type("Dictionary", (), {"__module__": module.__name__})
    module.Dictionary = dictionary  # pyright: ignore[reportAttributeAccessIssue]
    with monkeypatch.context() as patch:
        for name in ("fairseq", "fairseq.data", module.__name__):
            patch.setitem(sys.modules, name, module if name == module.__name__ else types.ModuleType(name))
        entry: Any = dictionary()
        entry.symbols = ["<s>"]
        content = {
            "model": fairseq_names(base),
            "task_state": {"dictionaries": [entry]},
            "best": np.float64(1.5),
        }
        torch.save(content, tmp_path / "dict.pt")
    extractor = HubertConfig(checkpoint=str(tmp_path / "dict.pt"), layer=1).load()
    np.testing.assert_allclose(
        extractor.extract(noise(4000)), reference(base, noise(4000), 1, normalize=False), atol=1e-5
    )


def test_user_errors(base: "HubertModel", folder: Path, tmp_path: Path) -> None:
    def message(checkpoint: str | Path, layer: int = 1) -> str:
        with pytest.raises(UnitlangError) as caught:
            HubertConfig(checkpoint=str(checkpoint), layer=layer).load()
        return str(caught.value)

    assert "has 3 layers: layer 4 does not exist" in message(folder, 4)
    assert "no checkpoint at" in message(tmp_path / "absent.pt")
    assert "not a checkpoint folder" in message(tmp_path)
    assert "set `download: true`" in message("HUBERT_BASE")
    for name, content in (("a.pt", b"text"), ("b.safetensors", b"text"), ("c.pt", b"")):
        (tmp_path / name).write_bytes(content)
        assert str(tmp_path / name) in message(tmp_path / name)
    torch.save({"weight": torch.ones(1)}, tmp_path / "other.pt")
    assert "not a HuBERT model" in message(tmp_path / "other.pt")
    torch.save([1], tmp_path / "list.pt")
    assert "no state dict" in message(tmp_path / "list.pt")
    state = base.state_dict()
    key = "encoder.layers.0.attention.k_proj.weight"
    torch.save({k: v for k, v in state.items() if k != key}, tmp_path / "part.pt")
    assert "attention.k_proj.weight" in message(tmp_path / "part.pt")
    torch.save(state | {key: torch.ones(3, 3)}, tmp_path / "shape.pt")
    assert "shapes do not fit" in message(tmp_path / "shape.pt")
    for value in (torch.nan, torch.inf, -torch.inf):
        damaged = state[key].clone()
        damaged[5, 7] = value
        torch.save(state | {key: damaged}, tmp_path / "damaged.pt")
        assert "attention.k_proj.weight holds NaN or infinite values" in message(tmp_path / "damaged.pt")
    up = "encoder.layers.0.feed_forward.intermediate_dense.weight"
    torch.save(state | {up: torch.full_like(state[up], 3e38)}, tmp_path / "huge.pt")
    extractor = HubertConfig(checkpoint=str(tmp_path / "huge.pt"), layer=1).load()
    with pytest.raises(UnitlangError, match=r"huge\.pt: .* is the checkpoint intact"):
        extractor.extract(noise(4000))
    kernels = make_model(BASE | {"conv_kernel": (10, 3, 3, 3, 3, 2, 4)})
    torch.save(kernels.state_dict(), tmp_path / "kernels.pt")
    assert "frames of 20 ms" in message(tmp_path / "kernels.pt")
    make_model(BASE | {"conv_stride": (5, 2, 2, 2, 2, 2, 4)}).save_pretrained(tmp_path / "strides")
    assert "frames of 20 ms" in message(tmp_path / "strides")


def test_config_bounds() -> None:
    for wrong in ({"layer": 0}, {"layer": 1, "max_window_seconds": 5.0, "context_seconds": 2.5}):
        with pytest.raises(ValueError, match=r"layer|max_window_seconds"):
            HubertConfig.model_validate({"checkpoint": "x", **wrong})
