"""How models are spread over workers and kept small: FSDP2, activation checkpointing, precision."""

from fairseq2.models.utils.ac import apply_layerwise_ac
from fairseq2.models.utils.fsdp import apply_layerwise_fsdp
from fairseq2.nn.fsdp import FSDPWrapper
from torch import bfloat16, nn


def layer_stacks(model: nn.Module) -> list[nn.ModuleList]:
    """The stacks of like layers in all parts: what is checkpointed and sharded layer by layer."""
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
    """Recompute every n-th layer that is trained or lies before one that is."""
    for stack in layer_stacks(model):
        apply_layerwise_ac(stack, every_nth_layer)
    return model


def shrink_frozen(model: nn.Module) -> None:
    """Keep what is not trained in bfloat16."""
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(bfloat16)
