"""Activation checkpointing and FSDP2 by layer: the same loss and the same gradients."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from echox.models.echo import Echo, Segments
from echox.models.ragged import Ragged
from echox.objectives import EchoLossConfig, echo_objective
from tests.echox.models.shapes import ARCHITECTURE, PLACEHOLDER, inputs


@pytest.fixture
def one_process(tmp_path: Path) -> Generator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def decoders(model: Echo) -> list[torch.nn.Module]:
    return [model.s2t.llm.model.decoder, model.t2c.decoder, model.words.decoder]


def step(model: Echo) -> tuple[float, list[torch.Tensor]]:
    """The loss and all gradients."""
    model.zero_grad()
    torch.manual_seed(1)
    batch = inputs()
    segments = Segments.whole(batch.response.lengths_B)
    output = model(batch, segments, Ragged.of([[1, 2, 3], [4], [5, 6]]), with_response=True)
    total = echo_objective(output, EchoLossConfig(s2t_weight=1.0)).total
    total.backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return total.item(), [x.full_tensor() if isinstance(x, DTensor) else x.clone() for x in gradients]


@pytest.mark.usefixtures("one_process")
def test_layers_can_be_recomputed_and_sharded() -> None:
    torch.manual_seed(0)
    llm = replace(ARCHITECTURE.llm, trainable="lora", tied=True)
    model = Echo(replace(ARCHITECTURE, llm=llm), PLACEHOLDER)
    model.freeze(train_s2t=True)
    model.eval()  # no dropout, whose random numbers recomputing would have to repeat
    loss, gradients = step(model)
    layers = {id(layer) for decoder in decoders(model) for layer in decoder.get_submodule("layers").children()}
    apply_activation_checkpointing(model, check_fn=lambda module: id(module) in layers)
    recomputed, again = step(model)
    assert recomputed == loss
    torch.testing.assert_close(again, gradients)
    mesh = init_device_mesh("cpu", (1,))
    for decoder in decoders(model):
        for layer in decoder.get_submodule("layers").children():
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    sharded, parts = step(model)
    assert sharded == pytest.approx(loss)
    torch.testing.assert_close(parts, gradients)
