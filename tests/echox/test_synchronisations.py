"""How often a training step makes the host wait for a GPU; each wait lets the GPU run out of work."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from echox.models.echo import Echo, Segments
from echox.models.ragged import Ragged
from echox.models.s2t import S2T
from echox.models.t2c import T2C
from echox.objectives import EchoLossConfig, Objective, S2TLossConfig, echo_objective, s2t_objective, t2c_objective
from tests.echox.models.shapes import ARCHITECTURE, PLACEHOLDER, TEXT, inputs
from tests.echox.synchronisations import synchronisations

WORDS = Ragged.of([[1, 2, 3], [4], [5, 6, 7, 8]])
CEILINGS = {"s2t": 9, "t2c": 6, "echo": 18}
"""Most waits of forward pass, loss and backward pass; lower them with the code, and raise none."""


def s2t() -> Callable[[], Objective]:
    encoder = replace(ARCHITECTURE.encoder, full_window=True)
    model, batch = S2T(replace(ARCHITECTURE, encoder=encoder), PLACEHOLDER), inputs()
    return lambda: s2t_objective(model(batch), S2TLossConfig())


def t2c() -> Callable[[], Objective]:
    model, text = T2C(ARCHITECTURE.t2c, torch.randn(TEXT, 32)), inputs().response
    return lambda: t2c_objective(model(text, WORDS))


def echo() -> Callable[[], Objective]:
    model, batch = Echo(ARCHITECTURE, PLACEHOLDER), inputs()
    model.freeze()
    segments, config = Segments.whole(batch.response.lengths_B), EchoLossConfig(s2t_weight=0.0)
    return lambda: echo_objective(model(batch, segments, WORDS), config)


@pytest.mark.parametrize("stage", [s2t, t2c, echo])
def test_a_step_waits_at_most_so_often(stage: Callable[[], Callable[[], Objective]]) -> None:
    step = stage()
    with synchronisations() as found:
        objective = step()
        (objective.total / objective.count).backward()
    assert found.total() <= CEILINGS[stage.__name__], found


def test_waits_are_counted() -> None:
    values = torch.arange(4)
    with synchronisations() as found:
        int(values.sum())
        bool((values > 1).all())
        _ = values[values > 1]
        values.tolist()
        values[values > 2] = 0
        _ = values[torch.tensor([0, 1])]
    assert found == Counter({"aten::_local_scalar_dense": 2, "aten::index": 1, "tolist": 1, "aten::index_put_": 1})
