from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import nn

from echox.recipes.batches import Training


def test_weights_that_prepare_reads_still_learn_under_autocast() -> None:
    model, inputs = nn.Linear(4, 4), torch.randn(2, 4)
    stage = SimpleNamespace(prepares=False, prepare=lambda model, batch: model(batch))
    training = Training(cast("Any", stage), model, SimpleNamespace(skipped=0))
    with torch.autocast("cpu", torch.bfloat16):
        training._prepare(inputs)  # pyright: ignore[reportPrivateUsage] - the first half of a step
        model(inputs).float().sum().backward()
    assert model.weight.grad is not None
    assert model.weight.grad.any()
