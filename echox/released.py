"""The released EchoX checkpoints (FreedomIntelligence/EchoX-3B, -8B): one folder of safetensors, read into `Echo`.

Each holds the language model with its LoRA merged, Soundwave's adapter and the Echo decoder (`unit_translator`).
Whisper comes from a folder of its own. T2C is not included: it gets the Echo decoder's weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from echox.architectures import Architecture
from echox.checkpoints import load_weights, read_config, read_object, read_tensors
from echox.errors import EchoxError
from echox.models.adapter import AdapterConfig
from echox.models.decoder import DecoderConfig, RopeScaling, from_hugging_face
from echox.models.echo import Echo, EchoConfig
from echox.models.encoder import EncoderConfig
from echox.models.language_model import LanguageModelConfig
from echox.models.t2c import Size, T2CConfig, t2c_layers

PLACEHOLDER = "<audio_patch>"
END = 128_009
"""`<|eot_id|>` of Llama 3, which also ends the words."""
SPEAKER = (128_006, 128_000, 65_576, 128_007, 128_000, 198)
"""`<|start_header_id|>`, "speaker", `<|end_header_id|>`, a new line: each text tokenized with a `<|begin_of_text|>`."""
BEFORE = (*SPEAKER, 128_000)
"""Tokens before a text: the turn of the speaker, and the `<|begin_of_text|>` with which each text begins."""
BEFORE_STATES = (*SPEAKER, 12_800)
"""Tokens before the states in the released inference. 12800 is theirs; 128000 may have been meant."""
AFTER = (END, *SPEAKER)
"""Tokens between the states and the words."""
SIZES: Mapping[str, Size] = {"large": "large", "small": "small"}
"""`unit_model` in `config.json`; anything else is medium, and base where there is none."""

ADAPTER = {
    "model.mm_projector1.": "projection.",
    "model.asr_transformer_encoder.layers.0.": "layer.",
    "model.out_norm.": "norm.",
    "model.audio_feature_head.": "ctc_head.",
    "model.lbm.encoder_attn.": "look_back.attention.",
    "model.lbm.atten_layer_norm.": "look_back.norm.",
}
"""Released names, and ours after `s2t.adapter.`"""
WORDS = {"unit_embedding.": "word_embedding.", "adapter.": "input_projection.", "lm_head.": "head."}
"""Released names after `unit_translator.`, and ours after `words.`"""
DENOISING = {"aligner_MLP.0.": "up.", "aligner_MLP.3.": "down."}
"""Released names after `unit_translator.`, and ours after `denoising.`"""


def load_released(folder: Path, whisper: Path) -> Echo:
    """Load the model of a released folder, on the CPU.

    Args:
        folder: a folder with `config.json`, `tokenizer.json` and safetensors.
        whisper: Hugging Face folder of the Whisper that it was trained with: large-v3 for the public ones.

    Raises:
        EchoxError: something is missing or differs from the released layout.
    """
    model = Echo(released_architecture(folder, whisper), released_placeholder(folder))
    model.s2t.encoder.load()
    tensors = read_tensors(folder)
    translator = _take(tensors, {"unit_translator.": ""})
    load_weights(model.denoising, _take(translator, DENOISING), folder)
    words = _take(translator, WORDS)
    layers = from_hugging_face(translator, model.words.config.decoder, folder)
    load_weights(model.words, words | {name: layers[name] for name in layers if name.startswith("decoder.")}, folder)
    model.t2c.load_state_dict(model.words.state_dict())
    load_weights(model.s2t.adapter, _take(tensors, ADAPTER), folder)
    model.s2t.llm.fill(tensors, folder)
    _check_table(layers["decoder_frontend.embed.weight"], model.s2t.llm.table, folder)
    return model


def released_architecture(folder: Path, whisper: Path) -> Architecture:
    """Return the architecture of a released folder and its Whisper, from their `config.json`.

    Raises:
        EchoxError: a field is missing.
    """
    config = read_config(folder)
    llm = _language_model(config, folder)
    size = SIZES.get(config["unit_model"], "medium") if "unit_model" in config else "base"
    return Architecture(
        encoder=_encoder(whisper),
        adapter=AdapterConfig(heads=llm.decoder.heads, context="itself", look_back_keys="kept"),
        llm=llm,
        t2c=T2CConfig(
            decoder=t2c_layers(size, llm.decoder),
            text_hidden_size=llm.decoder.hidden_size,
            text_vocabulary=llm.vocabulary,
            words=_field(config, "unit_vocab_size", folder),
            before=BEFORE,
            before_states=BEFORE_STATES,
            after=AFTER,
            end=END,
        ),
        echo=EchoConfig(inner=llm.decoder.intermediate_size),
    )


def released_placeholder(folder: Path) -> int:
    """Return the id of the token that speech replaces, from `tokenizer.json`.

    Raises:
        EchoxError: there is no such file or token.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise EchoxError(f"{folder}: no tokenizer.json; fetch the whole folder")
    ids = {token["content"]: token["id"] for token in read_object(path).get("added_tokens", [])}
    if PLACEHOLDER in ids:
        return int(ids[PLACEHOLDER])
    raise EchoxError(f"{path}: no token {PLACEHOLDER}; is this a released EchoX?")


def _language_model(config: Mapping[str, Any], folder: Path) -> LanguageModelConfig:
    scaling = config.get("rope_scaling")
    decoder = DecoderConfig(
        layers=_field(config, "num_hidden_layers", folder),
        hidden_size=_field(config, "hidden_size", folder),
        heads=_field(config, "num_attention_heads", folder),
        key_value_heads=_field(config, "num_key_value_heads", folder),
        intermediate_size=_field(config, "intermediate_size", folder),
        max_length=8192,
        rope_theta=_field(config, "rope_theta", folder),
        rope_scaling=scaling
        and RopeScaling(
            factor=scaling["factor"],
            low_frequency=scaling["low_freq_factor"],
            high_frequency=scaling["high_freq_factor"],
            original_length=scaling["original_max_position_embeddings"],
        ),
    )
    return LanguageModelConfig(
        decoder=decoder,
        vocabulary=_field(config, "vocab_size", folder),
        tied=config.get("tie_word_embeddings", False),
    )


def _encoder(folder: Path) -> EncoderConfig:
    config = read_config(folder)
    return EncoderConfig(
        layers=_field(config, "encoder_layers", folder),
        hidden_size=_field(config, "d_model", folder),
        heads=_field(config, "encoder_attention_heads", folder),
        intermediate_size=_field(config, "encoder_ffn_dim", folder),
        mels=_field(config, "num_mel_bins", folder),
        max_frames=2 * _field(config, "max_source_positions", folder),
        checkpoint=str(folder),
    )


def _field(config: Mapping[str, Any], name: str, folder: Path) -> Any:
    if name not in config:
        raise EchoxError(f"{folder / 'config.json'}: no {name}; is this a released EchoX, or its Whisper?")
    return config[name]


def _take(tensors: dict[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Take the tensors whose name begins as in `names` out of `tensors`, and return them renamed."""
    taken: dict[str, Tensor] = {}
    for name in list(tensors):
        for theirs, ours in names.items():
            if name.startswith(theirs):
                taken[ours + name.removeprefix(theirs)] = tensors.pop(name)
                break
    return taken


def _check_table(table_VH: Tensor, ours_VH: Tensor, folder: Path) -> None:
    """Check that the tokens around the states have the same embeddings in the language model, which we use for them."""
    ids = sorted({*BEFORE, *BEFORE_STATES, *AFTER})
    if table_VH.shape != ours_VH.shape or not torch.equal(table_VH[ids].to(ours_VH.dtype), ours_VH[ids]):
        raise EchoxError(f"{folder}: unit_translator.model.embed_tokens is not model.embed_tokens; cannot import it")
