"""Read HuBERT weights of fairseq, torchaudio and Hugging Face into torchaudio's model; runs no code from the files.

The names of the tensors identify the layout, their shapes the sizes. Everything else comes from the config beside the
weights, or else from the three published sizes:

- attention heads: 16 at 1280 dims (X-Large), else one per 64 dims (Base, Large);
- order of the norms: first in models with layer norm in the convolutions (Large, X-Large), else last (Base);
- waveform normalised to mean 0 and variance 1: fairseq's `task.normalize`, Hugging Face's `do_normalize`, else as
  published: Large and X-Large yes, Base no.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.utils.parametrize import remove_parametrizations
from torchaudio.models import Wav2Vec2Model, wav2vec2_model

from unitlang.errors import UnitlangError
from unitlang.features.files import CheckpointFiles, read_json_object
from unitlang.features.hubert_parts.files import BUNDLES, locate
from unitlang.features.hubert_parts.names import CONV, LAYERS, is_later, torchaudio_names
from unitlang.features.weights import check_finite, read_weights

_CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
"""Kernel and stride of the seven convolutions (arXiv 2106.07447, sec. IV-A), which make a frame 20 ms."""


@dataclass(frozen=True)
class _Stated:
    """Settings from the checkpoint's own config; None if it does not state them."""

    num_heads: int | None = None
    norm_first: bool | None = None
    normalize: bool | None = None


class _Ignored:
    """Inert stand-in for objects that surround the weights in a fairseq file (dictionaries, settings)."""

    def __new__(cls, *_args: object) -> "_Ignored":
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None: ...


_IGNORED_GLOBALS = (
    "fairseq.data.dictionary.Dictionary",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.nodes.AnyNode",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)
"""Classes in published fairseq files beside their tensors, which `_Ignored` replaces."""


def load_hubert(checkpoint: str, layer: int) -> tuple[Wav2Vec2Model, bool, int]:
    """Build the model up to one layer.

    For norm-first models (Large) the output of a layer is what fairseq's `extract_features(output_layer=layer)`
    returns: before the encoder's final norm, also at the last layer.

    Args:
        checkpoint: a file, a Hugging Face folder, or a torchaudio bundle's name (which is then downloaded).
        layer: number of transformer layers to keep, from 1.

    Returns:
        The model in eval mode and float32, whether the waveform must be normalised, and the model's dims.

    Raises:
        UnitlangError: the file is missing, unreadable, not a 50 Hz HuBERT model, has fewer layers, or holds NaN or
            infinite weights.
    """
    tensors, stated = _read_bundle(checkpoint) if checkpoint in BUNDLES else _read(locate(checkpoint))
    state = torchaudio_names(tensors, checkpoint)
    arguments = _arguments(state, stated, layer, checkpoint)
    with torch.random.fork_rng(devices=[]):  # the random initial weights are overwritten: keep the caller's seed
        model = wav2vec2_model(**arguments)
    wanted = model.state_dict().keys()
    bad = sorted((wanted - state.keys()) | {key for key in state.keys() - wanted if not is_later(key, layer)})
    if bad:
        raise UnitlangError(
            f"{checkpoint} is not a HuBERT model of a known layout: missing or unknown tensors {', '.join(bad[:5])}"
        )
    check_finite({key: state[key] for key in wanted}, checkpoint)
    try:
        model.load_state_dict({key: state[key].float() for key in wanted})
    except RuntimeError as error:
        raise UnitlangError(f"{checkpoint}: shapes do not fit a HuBERT model: {error}") from error
    transformer: Any = model.encoder.transformer
    remove_parametrizations(transformer.pos_conv_embed.conv, "weight")
    layer_norm = arguments["extractor_mode"] == "layer_norm"
    normalize = layer_norm if stated.normalize is None else stated.normalize
    return model.eval(), normalize, arguments["encoder_embed_dim"]


def _read_bundle(name: str) -> tuple[dict[str, Tensor], _Stated]:
    from torchaudio import pipelines

    return getattr(pipelines, name).get_model().state_dict(), _Stated()


def _read(files: CheckpointFiles) -> tuple[dict[str, Tensor], _Stated]:
    allowed = (argparse.Namespace, *((_Ignored, name) for name in _IGNORED_GLOBALS))
    content = read_weights(files.weights, allowed)
    stated = _stated_by_hugging_face(files) if files.config else _stated_by_fairseq(content)
    for key in ("model", "state_dict"):
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}, stated


def _stated_by_hugging_face(files: CheckpointFiles) -> _Stated:
    assert files.config is not None  # noqa: S101
    config = read_json_object(files.config)
    strides = config.get("conv_stride")
    if strides is not None and list(strides) != [stride for _, stride in _CONVOLUTIONS]:
        raise UnitlangError(f"{files.config}: conv_stride {strides} does not make frames of 20 ms")
    if config.get("hidden_act", "gelu") != "gelu" or config.get("feat_extract_activation", "gelu") != "gelu":
        raise UnitlangError(f"{files.config}: only models with gelu are supported")
    preprocessor = read_json_object(files.preprocessor) if files.preprocessor else {}
    return _Stated(
        config.get("num_attention_heads"),
        config.get("do_stable_layer_norm"),
        preprocessor.get("do_normalize"),
    )


def _stated_by_fairseq(content: Mapping[str, Any]) -> _Stated:
    """Read the settings of both fairseq generations: nested `cfg`, and the older flat `args` namespace."""
    cfg, args = content.get("cfg"), content.get("args")
    if isinstance(cfg, dict):
        model, task = _as_dict(cfg.get("model")), _as_dict(cfg.get("task"))
    else:
        model = task = _as_dict(args)
    return _Stated(model.get("encoder_attention_heads"), model.get("layer_norm_first"), task.get("normalize"))


def _as_dict(settings: object) -> dict[str, Any]:
    if isinstance(settings, argparse.Namespace):
        return vars(settings)
    return cast("dict[str, Any]", settings) if isinstance(settings, dict) else {}


def _arguments(state: Mapping[str, Tensor], stated: _Stated, layer: int, source: str) -> dict[str, Any]:
    """Derive the arguments of torchaudio's `wav2vec2_model` from the tensors."""
    try:
        kernels = [state[f"{CONV}{i}.conv.weight"] for i in range(len(_CONVOLUTIONS))]
        dim = state["encoder.feature_projection.projection.weight"].shape[0]
        position = state["encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original1"]
        hidden = state[f"{LAYERS}0.feed_forward.intermediate_dense.weight"].shape[0]
    except KeyError as error:
        raise UnitlangError(f"{source} is not a HuBERT model: it has no tensor {error}") from error
    if [kernel.shape[2] for kernel in kernels] != [kernel for kernel, _ in _CONVOLUTIONS]:
        raise UnitlangError(f"{source}: its convolutions do not make frames of 20 ms")
    num_layers = sum(re.fullmatch(rf"{re.escape(LAYERS)}\d+\.layer_norm\.weight", key) is not None for key in state)
    if layer > num_layers:
        raise UnitlangError(f"{source} has {num_layers} layers: layer {layer} does not exist")
    layer_norm = f"{CONV}1.layer_norm.weight" in state
    num_heads = stated.num_heads or (16 if dim == 1280 else dim // 64)
    if num_heads < 1 or dim % num_heads:
        raise UnitlangError(f"{source}: {dim} dims cannot be shared among {num_heads} attention heads")
    norm_first = layer_norm if stated.norm_first is None else stated.norm_first
    return {
        "extractor_mode": "layer_norm" if layer_norm else "group_norm",
        "extractor_conv_layer_config": [
            (kernel.shape[0], *sizes) for kernel, sizes in zip(kernels, _CONVOLUTIONS, strict=True)
        ],
        "extractor_conv_bias": f"{CONV}0.conv.bias" in state,
        "encoder_embed_dim": dim,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": position.shape[2],
        "encoder_pos_conv_groups": dim // position.shape[1],
        "encoder_num_layers": layer,
        "encoder_num_heads": num_heads,
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": hidden,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": norm_first,
        "encoder_layer_drop": 0.0,
        "aux_num_out": None,
    }
