from types import SimpleNamespace
from typing import Any, cast

import torch
from fairseq2.metrics import MetricBag, Sum
from torch import nn

from echox.objectives import Objective
from echox.recipes.batches import SKIPPED, Training


def test_weights_that_prepare_reads_still_learn_under_autocast() -> None:
    model, inputs = nn.Linear(4, 4), torch.randn(2, 4)
    stage = SimpleNamespace(prepares=False, prepare=lambda model, batch: model(batch))
    training = Training(cast("Any", stage), model, SimpleNamespace(skipped=0))
    with torch.autocast("cpu", torch.bfloat16):
        training._prepare(inputs)  # pyright: ignore[reportPrivateUsage] - the first half of a step
        model(inputs).float().sum().backward()
    assert model.weight.grad is not None
    assert model.weight.grad.any()


def test_examples_that_were_too_long_are_counted_once_and_by_all_workers() -> None:
    stage = SimpleNamespace(
        loss_parts=(),
        prepares=False,
        prepare=lambda model, batch: None,
        objective=lambda model, batch, prepared: Objective(model(batch.inputs).sum(), 4, {}),
    )
    batch = SimpleNamespace(inputs=torch.randn(1, 4), num_examples=1, num_positions=4)
    for worker in range(2):
        bag, source = MetricBag(device=torch.device("cpu")), SimpleNamespace(skipped=0)
        training = Training(cast("Any", stage), nn.Linear(4, 4), source)
        training.prepare_metric_bag(bag)
        for skipped in (2, 2, 5 + worker):
            source.skipped = skipped
            training.process_batch(batch, bag)
        values: dict[str, Any] = {SKIPPED: bag.get(SKIPPED, Sum).compute()}
        training.process_metric_values(values)
        assert {name: int(value) for name, value in values.items()} == {"skipped": 5 + worker}
