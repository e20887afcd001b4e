"""The language model of a run as other programs read it: LoRA for `peft`, or a whole folder for `transformers`."""

# Shapes: O = outputs, I = inputs of a projection, or R = rank of its update.

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Size, Tensor

from echox.errors import EchoxError
from echox.models.decoder import DecoderConfig
from echox.models.language_model import LanguageModelConfig, hugging_face_fields
from echox.models.lora import PROJECTIONS
from echox.recipes.folder import RunFolder
from echox.weights.writing import DTYPES, Promised, write_tensors
from storage.local import write_file

PREFIXES = {"s2t": "llm.model.", "echo": "s2t.llm.model."}
"""Beginnings of the names of a language model's weights in a run, by stage."""
DOWN, UP = ".lora.down_RI", ".lora.up_OR"
TORCH_DTYPES = {name: dtype for dtype, name in DTYPES.items()}
METADATA = {"format": "pt"}
"""Metadata without which transformers refuses a file."""


def write_lora(run: RunFolder, out: Path) -> None:
    """Write the updates of a run's language model as `peft` reads them.

    Raises:
        EchoxError: the run has no language model, or no LoRA, or has not finished; or the disk refuses.
    """
    weights, config = _Weights(run), run.architecture.llm
    if config.trainable != "lora":
        raise EchoxError(f"{run.folder}: its language model was trained whole, without LoRA; write it with --merge")
    ends = {DOWN: ".lora_A.weight", UP: ".lora_B.weight"}
    tensors = {
        f"base_model.model.{weights.other_name(name).removesuffix(end)}{ends[end]}": weights.tensor(name)
        for name in weights.names
        for end in ends
        if name.endswith(end)
    }
    write_tensors(out / "adapter_model.safetensors", tensors, METADATA)
    _write_json(out / "adapter_config.json", _peft_config(config))


def write_language_model(run: RunFolder, out: Path) -> None:
    """Write a run's language model, updates merged, with its tokenizer, as a Hugging Face folder.

    Raises:
        EchoxError: the run has no language model or has not finished; or the disk refuses.
    """
    weights, config = _Weights(run), run.architecture.llm
    left_out = (DOWN, UP, "final_proj.weight") if config.tied else (DOWN, UP)
    kept = [name for name in weights.names if not name.endswith(left_out)]
    tensors = {weights.other_name(name): weights.merged(name) for name in kept}
    write_tensors(out / "model.safetensors", tensors, METADATA)
    run.tokenizer().save(out)
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    fields = {**hugging_face_fields(config), "max_position_embeddings": config.decoder.max_length}
    kind = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": dtype, "rms_norm_eps": 1e-5}
    _write_json(out / "config.json", {**kind, **fields})


class _Weights:
    """The weights of a run's language model, each read when it is needed."""

    def __init__(self, run: RunFolder) -> None:
        prefix = PREFIXES.get(run.card.stage)
        if prefix is None:
            known = " or ".join(PREFIXES)
            raise EchoxError(f"{run.folder}: is a run of stage {run.card.stage}; give one of {known}")
        self._prefix = prefix
        self._config = run.architecture.llm
        self._file: Any = safe_open(run.weights, framework="pt")
        self.names: list[str] = [
            name.removeprefix(prefix) for name in sorted(self._file.keys()) if name.startswith(prefix)
        ]

    def other_name(self, name: str) -> str:
        """Return the name that Hugging Face gives to a weight."""
        from fairseq2.models.llama.interop import _HG_KEY_MAP  # pyright: ignore[reportPrivateUsage]
        from fairseq2.models.utils.checkpoint import convert_state_dict, create_reverse_key_map

        return next(iter(convert_state_dict({name: None}, create_reverse_key_map(_HG_KEY_MAP))))

    def tensor(self, name: str) -> Promised:
        """Return a weight in Hugging Face's order of rotary dimensions."""
        return self._promised(name, partial(self._ordered, name, self._get(name)))

    def merged(self, name: str) -> Promised:
        """Return a weight with its update."""
        return self._promised(name, partial(self._ordered, name, partial(self._updated, name)))

    def _promised(self, name: str, value: Callable[[], Tensor]) -> Promised:
        own = self._file.get_slice(self._prefix + name)
        return Promised(Size(own.get_shape()), TORCH_DTYPES[own.get_dtype()], value)

    def _get(self, name: str) -> Callable[[], Tensor]:
        return partial(self._file.get_tensor, self._prefix + name)

    def _updated(self, name: str) -> Tensor:
        weight_OI, projection = self._get(name)(), name.removesuffix(".weight")
        if projection + UP not in self.names:
            return weight_OI
        scale = self._config.lora.alpha / self._config.lora.rank
        update_OI = self._get(projection + UP)() @ self._get(projection + DOWN)() * scale
        return (weight_OI.float() + update_OI).to(weight_OI.dtype)

    def _ordered(self, name: str, value: Callable[[], Tensor]) -> Tensor:
        heads = _rotated_heads(name, self._config.decoder)
        return value() if heads is None else _hugging_face_order(value(), heads)


def _rotated_heads(name: str, config: DecoderConfig) -> int | None:
    """Return the number of heads of a weight whose outputs have rotary positions; None if it has none."""
    if name.endswith(DOWN):
        return None
    if "self_attn.q_proj." in name:
        return config.heads
    return config.key_value_heads if "self_attn.k_proj." in name else None


def _hugging_face_order(weight_OI: Tensor, heads: int) -> Tensor:
    """Return a weight with the two halves of each head's pairs one after the other, not in turn."""
    return weight_OI.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def _peft_config(config: LanguageModelConfig) -> dict[str, Any]:
    names = {**PROJECTIONS, "o": "o_proj"}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": config.checkpoint,
        "r": config.lora.rank,
        "lora_alpha": config.lora.alpha,
        "lora_dropout": config.lora.dropout,
        "target_modules": [names[target] for target in config.lora.targets],
        "bias": "none",
        "inference_mode": True,
    }


def _write_json(path: Path, value: object) -> None:
    write_file(path, (json.dumps(value, indent=2) + "\n").encode(), replace=True)
