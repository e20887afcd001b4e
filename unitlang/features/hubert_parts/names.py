"""Rename the tensors of a HuBERT model from fairseq's and Hugging Face's names to torchaudio's."""

import re
from collections.abc import Mapping

from torch import Tensor

from unitlang.errors import UnitlangError

CONV = "feature_extractor.conv_layers."
LAYERS = "encoder.transformer.layers."
_FAIRSEQ_NAMES = {
    rf"^{re.escape(CONV)}(\d+)\.0\.": rf"{CONV}\1.conv.",
    rf"^{re.escape(CONV)}(\d+)\.2\.(1\.)?": rf"{CONV}\1.layer_norm.",
    r"^post_extract_proj\.": "encoder.feature_projection.projection.",
    r"^layer_norm\.": "encoder.feature_projection.layer_norm.",
    r"^encoder\.pos_conv\.0\.": "encoder.transformer.pos_conv_embed.conv.",
    r"^encoder\.layer_norm\.": "encoder.transformer.layer_norm.",
    r"^encoder\.layers\.(\d+)\.self_attn\.": rf"{LAYERS}\1.attention.",
    r"^encoder\.layers\.(\d+)\.self_attn_layer_norm\.": rf"{LAYERS}\1.layer_norm.",
    r"^encoder\.layers\.(\d+)\.fc1\.": rf"{LAYERS}\1.feed_forward.intermediate_dense.",
    r"^encoder\.layers\.(\d+)\.fc2\.": rf"{LAYERS}\1.feed_forward.output_dense.",
    r"^encoder\.layers\.(\d+)\.final_layer_norm\.": rf"{LAYERS}\1.final_layer_norm.",
}
_HUGGING_FACE_NAMES = {
    r"^feature_projection\.": "encoder.feature_projection.",
    r"^encoder\.(pos_conv_embed|layer_norm|layers)\.": r"encoder.transformer.\1.",
}
_WEIGHT_NORM_NAMES = {
    r"\.weight_g$": ".parametrizations.weight.original0",
    r"\.weight_v$": ".parametrizations.weight.original1",
}


def torchaudio_names(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return the encoder's tensors under torchaudio's names, without the heads of pretraining or fine-tuning.

    Args:
        tensors: by the names of fairseq, Hugging Face or torchaudio.
        source: checkpoint, for the error message.

    Raises:
        UnitlangError: the tensors include no HuBERT encoder.
    """
    anchor = next((key for key in tensors if f"{CONV}0." in key), None)
    if anchor is None:
        raise UnitlangError(f"{source} is not a HuBERT model: it has no tensor {CONV}0.*")
    prefix = anchor[: anchor.index(CONV)]  # prefix of the encoder inside a pretraining or fine-tuned model
    own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    if any(key.startswith("post_extract_proj.") for key in own):
        names = _FAIRSEQ_NAMES
    elif any(key.startswith("feature_projection.") for key in own):
        names = _HUGGING_FACE_NAMES
    else:
        names = {}
    renamed = {_rename(_rename(key, names), _WEIGHT_NORM_NAMES): value for key, value in own.items()}
    return {key: value for key, value in renamed.items() if key.startswith((CONV, "encoder."))}


def _rename(key: str, names: Mapping[str, str]) -> str:
    for pattern, replacement in names.items():
        key, changes = re.subn(pattern, replacement, key)
        if changes:
            return key
    return key


def is_later(key: str, layer: int) -> bool:
    """Return whether the tensor belongs to a transformer layer after `layer` (counted from 1)."""
    match = re.match(rf"{re.escape(LAYERS)}(\d+)\.", key)
    return match is not None and int(match[1]) >= layer
