"""The text LLM: fairseq2's Llama, with weights in Hugging Face's layout."""

# Shapes: B = sequences, L = positions, H = hidden size, V = vocabulary.

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from echox.checkpoints import check_fields, load_weights, read_tensors
from echox.models.cached import CachedDecoder
from echox.models.config import PartConfig
from echox.models.decoder import DecoderConfig, RopeScaling, decode, fairseq2_config, from_hugging_face
from echox.models.lora import LoraConfig, add_lora
from echox.weights.filling import unmade


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig(PartConfig):
    """A Llama, and which of its weights are trained."""

    decoder: DecoderConfig
    """The layers."""
    vocabulary: int
    """V: tokens of text."""
    tied: bool = False
    """Whether the head is the embedding table."""
    trainable: Literal["lora", "all"] = "lora"
    """Trained weights: LoRA alone, or all but the embedding table, which T2C shares and which is always frozen."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Low-rank updates, where LoRA is trained."""
    checkpoint: str | None = None
    """Local Hugging Face folder of pretrained weights; without one, weights are random."""


class LanguageModel(nn.Module):
    """A causal language model that reads embeddings, of text and of speech."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        llama = fairseq2_config(config.decoder, config.vocabulary, config.tied)
        from fairseq2.models.llama import create_llama_model

        self.config = config
        with unmade(config.checkpoint):
            self.model = create_llama_model(llama)
        if config.trainable == "lora":
            add_lora(self.model, config.lora)

    @property
    def table(self) -> Tensor:
        """The embedding table."""
        return self.model.decoder_frontend.get_parameter("embed.weight")

    def embed(self, ids: Tensor) -> Tensor:
        """Return (..., H) embeddings of ids (...)."""
        return self.model.decoder_frontend.get_submodule("embed")(ids)

    @property
    def max_length(self) -> int:
        """Longest sequence, in positions."""
        return self.config.decoder.max_length

    def states(self, inputs_BLH: Tensor) -> Tensor:
        """Return (B, L, H) states after the last norm, which the head reads."""
        return decode(self.model.decoder, inputs_BLH)

    def cached(self) -> CachedDecoder:
        """Return its layers, with an empty cache."""
        return CachedDecoder(self.model.decoder)

    def logits(self, states: Tensor) -> Tensor:
        """Return scores (..., V) of states (..., H)."""
        return self.model.final_proj(states)

    def head_row(self, token: int) -> Tensor:
        """Return the head's row of a token, (H,)."""
        return self.model.final_proj.get_parameter("weight")[token]

    def freeze(self) -> None:
        """Let gradients flow only to the weights that the configuration trains."""
        every = self.config.trainable == "all"
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(every or ".lora." in name)
        self.table.requires_grad_(False)

    def load(self) -> None:
        """Load the pretrained weights, where the configuration names a checkpoint.

        Raises:
            EchoxError: the checkpoint has another architecture.
        """
        if self.config.checkpoint is None:
            return
        folder = Path(self.config.checkpoint)
        check_fields(folder, hugging_face_fields(self.config))
        self.fill(read_tensors(folder), folder)

    def fill(self, tensors: dict[str, Tensor], source: Path) -> None:
        """Load weights under Hugging Face's names of a Llama; messages name `source`.

        Raises:
            EchoxError: the weights do not fit the architecture.
        """
        converted = from_hugging_face(tensors, self.config.decoder, source, tied=self.config.tied)
        load_weights(self.model, converted, source, besides=".lora.")


def hugging_face_fields(config: LanguageModelConfig) -> dict[str, Any]:
    """Return the fields of a Llama's `config.json` that determine the weights."""
    decoder = config.decoder
    return {
        "hidden_size": decoder.hidden_size,
        "num_hidden_layers": decoder.layers,
        "num_attention_heads": decoder.heads,
        "num_key_value_heads": decoder.key_value_heads,
        "intermediate_size": decoder.intermediate_size,
        "rope_theta": decoder.rope_theta,
        "vocab_size": config.vocabulary,
        "tie_word_embeddings": config.tied,
        "rope_scaling": decoder.rope_scaling and _hugging_face(decoder.rope_scaling),
    }


def _hugging_face(scaling: RopeScaling) -> dict[str, Any]:
    """Return the scaling as in `config.json`."""
    return {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low_frequency,
        "high_freq_factor": scaling.high_frequency,
        "original_max_position_embeddings": scaling.original_length,
    }
