"""Llama-style decoder layers of fairseq2, for the language model, T2C and Echo."""

# Shapes: B = sequences, L = positions, D = hidden size.

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import Tensor

from echox.errors import EchoxError
from echox.models.config import PartConfig
from echox.native import load_libsndfile

if TYPE_CHECKING:  # importing takes 6 s, which reading a configuration does not need
    from fairseq2.models.llama import LLaMAConfig
    from fairseq2.models.transformer_lm import TransformerLMDecoder


@dataclass(frozen=True, kw_only=True)
class RopeScaling(PartConfig):
    """Scaling of rotary positions, as in Llama 3.1."""

    factor: float
    """Factor by which the lowest frequencies are slowed down: 8 in Llama 3.1, 32 in Llama 3.2."""
    low_frequency: float = 1.0
    """Waves longer than `original_length / low_frequency` positions are slowed down by the whole factor."""
    high_frequency: float = 4.0
    """Waves shorter than `original_length / high_frequency` positions are unchanged."""
    original_length: int = 8192
    """Longest sequence of the training before the scaling."""


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(PartConfig):
    """A stack of Llama layers: RMS norm, rotary positions, grouped queries, gated feed-forward, no biases."""

    layers: int
    """Number of layers."""
    hidden_size: int
    """Dimensions of the residual stream."""
    heads: int
    """Query heads, of `hidden_size / heads` dimensions each."""
    key_value_heads: int
    """Heads of keys and values; divides `heads`."""
    intermediate_size: int
    """Inner dimensions of the gated feed-forward."""
    max_length: int
    """Longest sequence, in positions."""
    rope_theta: float = 500_000.0
    """Base of the rotary frequencies."""
    rope_scaling: RopeScaling | None = None
    """Scaling of the rotary positions, if the model has one."""
    dropout: float = 0.0
    """Dropout on the outputs of attention and feed-forward."""

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads or (self.hidden_size // self.heads) % 2:
            raise EchoxError(f"hidden_size {self.hidden_size}: heads ({self.heads}) must divide it into even parts")
        if self.heads % self.key_value_heads:
            raise EchoxError(f"key_value_heads {self.key_value_heads}: must divide heads ({self.heads})")


def fairseq2_config(config: DecoderConfig, vocabulary: int = 1, tied: bool = False) -> "LLaMAConfig":
    """Return the same configuration for fairseq2.

    Args:
        config: configuration of the layers.
        vocabulary: tokens of a whole language model.
        tied: whether the head is the embedding table.
    """
    load_libsndfile()
    from fairseq2.models.llama import LLaMAConfig, LLaMARoPEScaleConfig

    llama = LLaMAConfig(
        model_dim=config.hidden_size,
        max_seq_len=config.max_length,
        vocab_size=vocabulary,
        tied_embeddings=tied,
        num_layers=config.layers,
        num_attn_heads=config.heads,
        num_key_value_heads=config.key_value_heads,
        ffn_inner_dim=config.intermediate_size,
        ffn_inner_dim_scale=1.0,  # `intermediate_size` is the dimension itself, not one to derive it from
        ffn_inner_dim_multiple_of=1,
        rope_theta=config.rope_theta,
        dropout_p=config.dropout,
        shard_embed_dim=False,
    )
    if (scaling := config.rope_scaling) is not None:
        llama.use_scaled_rope = True
        llama.rope_scale = LLaMARoPEScaleConfig(
            scaling.factor, (scaling.low_frequency, scaling.high_frequency), scaling.original_length
        )
    return llama


def from_hugging_face(
    tensors: Mapping[str, Tensor], config: DecoderConfig, source: Path, *, tied: bool = False
) -> dict[str, Tensor]:
    """Return a Llama's weights under fairseq2's names, whose rotary dimensions have another order.

    Args:
        tensors: weights under Hugging Face's names, embeddings included.
        config: configuration of the layers.
        source: folder of the weights, for messages.
        tied: whether the head is the embedding table; a head among the tensors is then ignored.

    Raises:
        EchoxError: layers are missing or have another shape.
    """
    llama = fairseq2_config(config, tied=tied)
    from fairseq2.models.llama import convert_llama_state_dict

    given: dict[str, object] = {name: tensors[name] for name in tensors if not (tied and name == "lm_head.weight")}
    try:
        return cast(dict[str, Tensor], convert_llama_state_dict(given, llama))
    except (KeyError, RuntimeError) as error:
        raise EchoxError(f"{source}: not a Llama of {config.layers} layers: {error}; choose its architecture") from None


def make_decoder(config: DecoderConfig) -> "TransformerLMDecoder":
    """Return layers with random weights and a last norm; `layers` is a ModuleList."""
    llama = fairseq2_config(config)
    from fairseq2.models.llama import LLaMAFactory

    return LLaMAFactory(llama).create_decoder()


def decode(decoder: "TransformerLMDecoder", inputs_BLD: Tensor) -> Tensor:
    """Return the states after the last norm, (B, L, D).

    Padding on the right needs no mask, because no position attends to its right; attention is fastest without one.

    Args:
        decoder: a decoder of `make_decoder`.
        inputs_BLD: embeddings.
    """
    from fairseq2.nn import BatchLayout

    return decoder(inputs_BLD, BatchLayout.of(inputs_BLD))
