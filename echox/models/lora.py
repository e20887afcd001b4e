"""LoRA: low-rank updates beside frozen projections (Hu et al., 2021, arXiv:2106.09685)."""

# Shapes: R = rank, I = inputs, O = outputs of a projection.

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from echox.models.config import PartConfig

Target = Literal["q", "k", "v", "o"]
PROJECTIONS: dict[Target, str] = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "output_proj"}
"""Names of the projections in fairseq2's attention."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig(PartConfig):
    """Low-rank updates of the attention's projections."""

    rank: int = 64
    """R: rank of the update."""
    alpha: float = 16.0
    """The update is scaled by alpha / rank."""
    dropout: float = 0.05
    """Dropout on the inputs of the update."""
    targets: tuple[Target, ...] = ("q", "k", "v")
    """Projections that are updated: queries, keys, values, outputs."""


class Lora(nn.Module):
    """The update of one projection: alpha / R * B A, where B starts at zero."""

    def __init__(self, weight_OI: Tensor, config: LoraConfig) -> None:
        super().__init__()
        outputs, inputs = weight_OI.shape
        self.down_RI = nn.Parameter(torch.empty(config.rank, inputs, dtype=weight_OI.dtype))
        self.up_OR = nn.Parameter(torch.zeros(outputs, config.rank, dtype=weight_OI.dtype))
        self.scale = config.alpha / config.rank
        self.dropout = nn.Dropout(config.dropout)
        nn.init.kaiming_uniform_(self.down_RI, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., O) for inputs (..., I): the update of the projection's output."""
        return functional.linear(functional.linear(self.dropout(x), self.down_RI), self.up_OR) * self.scale

    def delta(self) -> Tensor:
        """Return (O, I): the update of the projection's weight."""
        return self.up_OR @ self.down_RI * self.scale


def add_lora(model: nn.Module, config: LoraConfig) -> None:
    """Add an update to each target projection of `model`; the names of the existing weights do not change."""
    for projection in list(_targets(model, config)):
        projection.lora = Lora(projection.weight, config)
        projection.lora_hook = projection.register_forward_hook(_add_update)


def merge_lora(model: nn.Module) -> None:
    """Merge all updates into their weights; outputs stay as in evaluation, up to rounding."""
    for projection in [module for module in model.modules() if isinstance(getattr(module, "lora", None), Lora)]:
        merged: Any = projection
        with torch.no_grad():
            merged.weight += merged.lora.delta().to(merged.weight.dtype)
        merged.lora_hook.remove()
        del merged.lora_hook, merged.lora


def _targets(model: nn.Module, config: LoraConfig) -> Iterator[Any]:
    names = {PROJECTIONS[target] for target in config.targets}
    for path, module in model.named_modules():
        owner, _, name = path.rpartition(".")
        if name in names and owner.endswith("self_attn"):
            yield module


def _add_update(projection: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + projection.lora(inputs[0])
