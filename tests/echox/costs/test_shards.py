"""The shards of the large models on each of 8 workers under FSDP2: on the meta device, with torch's fake backend."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from echox.architectures import ARCHITECTURES
from echox.costs.memory import state
from echox.costs.stages import COSTS, stage_model
from echox.trainer.parallel import layer_stacks, shard, shrink_frozen

WORKERS = 8
ARCHITECTURE_STAGES = [(name, stage) for name in ("echox-3b", "echox-8b") for stage in COSTS]

pytestmark = pytest.mark.slow


@contextmanager
def worker(rank: int) -> Iterator[None]:
    distributed.init_process_group("fake", rank=rank, world_size=WORKERS, store=FakeStore())
    yield
    distributed.destroy_process_group()


def sharded(model: nn.Module) -> nn.Module:
    """The model as a recipe distributes it."""
    mesh = init_device_mesh("cpu", (WORKERS,))
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16)

    def wrap(module: nn.Module, **_: object) -> nn.Module:
        return cast(nn.Module, fully_shard(module, mesh=mesh, mp_policy=policy))

    return wrap(shard(model, "layer", wrap))


def held(model: nn.Module) -> dict[torch.dtype, int]:
    """Bytes of the shards of this worker."""
    found: dict[torch.dtype, int] = {}
    for weight in model.parameters():
        assert isinstance(weight, DTensor)
        local = weight.to_local()
        found[local.dtype] = found.get(local.dtype, 0) + local.numel() * local.itemsize
    return found


@pytest.mark.parametrize(("name", "stage"), ARCHITECTURE_STAGES)
def test_each_worker_holds_what_the_budget_says(name: str, stage: str) -> None:
    architecture = ARCHITECTURES[name]
    whole = stage_model(architecture, stage)
    layers = sum(len(stack) for stack in layer_stacks(whole))
    expected = state(whole, WORKERS, writes=False)
    for rank in (0, WORKERS - 1):
        with worker(rank):
            model = stage_model(architecture, stage)
            shrink_frozen(model)
            found = held(sharded(model))
        assert found.keys() <= {torch.bfloat16, torch.float32}
        assert sum(found.values()) == pytest.approx(expected.weights, rel=2e-3)
        assert 3 * found[torch.float32] == pytest.approx(expected.optimizer, rel=2e-3), "trained weights, in float32"
        assert sum(len(stack) for stack in layer_stacks(model)) == layers
        assert all(hasattr(layer, "unshard") for stack in layer_stacks(model) for layer in stack)
