"""Llama-style decoder layers, fairseq2's: what the language model, T2C and Echo are made of."""

# Shapes: B = sequences, L = positions, D = width.

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import Tensor

from echox.errors import EchoxError
from echox.models.config import PartConfig
from echox.native import load_libsndfile

if TYPE_CHECKING:  # 6 s that reading a configuration need not pay
    from fairseq2.models.llama import LLaMAConfig
    from fairseq2.models.transformer_lm import TransformerLMDecoder
    from fairseq2.nn import IncrementalStateBag


@dataclass(frozen=True, kw_only=True)
class RopeScaling(PartConfig):
    """Llama 3.1's stretching of rotary positions."""

    factor: float
    """How much the lowest frequencies are slowed down: 8 in Llama 3.1, 32 in Llama 3.2."""
    low_frequency: float = 1.0
    """Waves longer than `original_length / low_frequency` positions are slowed down by the whole factor."""
    high_frequency: float = 4.0
    """Waves shorter than `original_length / high_frequency` positions stay."""
    original_length: int = 8192
    """Positions that the model was trained on before it was stretched."""


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(PartConfig):
    """A stack of Llama layers: RMS norm, rotary positions, grouped queries, gated feed-forward, no biases."""

    layers: int
    """Number of layers."""
    width: int
    """Dimensions of the residual stream."""
    heads: int
    """Query heads; each has `width / heads` dimensions."""
    key_value_heads: int
    """Heads of keys and values; divides `heads`."""
    feed_forward: int
    """Inner dimensions of the gated feed-forward."""
    max_length: int
    """Longest sequence, in positions."""
    rope_theta: float = 500_000.0
    """Base of the rotary frequencies."""
    rope_scaling: RopeScaling | None = None
    """Stretching of the rotary positions, if the model has it."""
    dropout: float = 0.0
    """Dropout on the outputs of attention and feed-forward."""

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise EchoxError(f"width {self.width}: heads ({self.heads}) must divide it into even parts")
        if self.heads % self.key_value_heads:
            raise EchoxError(f"key_value_heads {self.key_value_heads}: must divide heads ({self.heads})")


def fairseq2_config(config: DecoderConfig, vocabulary: int = 1, tied: bool = False) -> "LLaMAConfig":
    """The same in fairseq2's terms, with a vocabulary for whole language models."""
    load_libsndfile()
    from fairseq2.models.llama import LLaMAConfig, LLaMARoPEScaleConfig

    llama = LLaMAConfig(
        model_dim=config.width,
        max_seq_len=config.max_length,
        vocab_size=vocabulary,
        tied_embeddings=tied,
        num_layers=config.layers,
        num_attn_heads=config.heads,
        num_key_value_heads=config.key_value_heads,
        ffn_inner_dim=config.feed_forward,
        ffn_inner_dim_scale=1.0,  # `feed_forward` is the true dimension, not one to derive it from
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
    """Weights of a Llama under fairseq2's names; heads' rotary dimensions lie in another order there.

    Args:
        tensors: under Hugging Face's names, embeddings included.
        config: of the layers.
        source: where they come from.
        tied: whether the head is the embedding table; a head among the tensors is then left out.

    Raises:
        EchoxError: when layers are missing or of another shape.
    """
    llama = fairseq2_config(config, tied=tied)
    from fairseq2.models.llama import convert_llama_state_dict

    given: dict[str, object] = {name: tensors[name] for name in tensors if not (tied and name == "lm_head.weight")}
    try:
        return cast(dict[str, Tensor], convert_llama_state_dict(given, llama))
    except (KeyError, RuntimeError) as error:
        raise EchoxError(f"{source}: not a Llama of {config.layers} layers: {error}; choose its preset") from None


def make_decoder(config: DecoderConfig) -> "TransformerLMDecoder":
    """Layers with random weights and a last norm; its `layers` is a ModuleList."""
    llama = fairseq2_config(config)
    from fairseq2.models.llama import LLaMAFactory

    return LLaMAFactory(llama).create_decoder()


def decode(decoder: "TransformerLMDecoder", inputs_BLD: Tensor, cache: "IncrementalStateBag | None" = None) -> Tensor:
    """States after the last norm, (B, L, D).

    Padding to the right needs no mask: no position looks to its right. Without one, attention takes its fastest way.

    Args:
        decoder: of `make_decoder`.
        inputs_BLD: embeddings; with a cache only those that are not yet in it.
        cache: keys and values of the positions before; used in evaluation mode only.
    """
    from fairseq2.nn import BatchLayout

    return decoder(inputs_BLD, BatchLayout.of(inputs_BLD), state_bag=cache)
