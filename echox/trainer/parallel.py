"""Distribution and memory of models: FSDP2, activation checkpointing, precision."""

from fairseq2.models.utils.ac import apply_layerwise_ac
from fairseq2.models.utils.fsdp import apply_layerwise_fsdp
from fairseq2.nn.fsdp import FSDPWrapper
from torch import bfloat16, nn


def layer_stacks(model: nn.Module) -> list[nn.ModuleList]:
    """Return the stacks of layers in all parts, which are checkpointed and sharded layer by layer."""
    return [
        module
        for name, module in model.named_modules()
        if name.endswith("layers") and isinstance(module, nn.ModuleList)
    ]


def shard(model: nn.Module, granularity: str, wrapper: FSDPWrapper) -> nn.Module:  # noqa: ARG001 - always by layer
    """Shard each layer by itself; fairseq2 shards the rest as one."""
    for stack in layer_stacks(model):
        apply_layerwise_fsdp(stack, wrapper)
    return model


def checkpoint_activations(model: nn.Module, every_nth_layer: int) -> nn.Module:
    """Recompute every n-th layer in the backward pass."""
    for stack in layer_stacks(model):
        apply_layerwise_ac(stack, every_nth_layer)
    return model


def shrink_frozen(model: nn.Module) -> None:
    """Convert frozen weights to bfloat16."""
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(bfloat16)
