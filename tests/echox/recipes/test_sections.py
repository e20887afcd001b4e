"""Groups of weights with their learning rate and decay, and the shape of the schedule."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from fairseq2.optim.lr_schedulers import CosineAnnealingLR
from torch import nn

from echox.models.s2t import S2T
from echox.native import load_libsndfile
from echox.recipes.config import OptimizerConfig, StageConfig
from tests.echox.models.shapes import ARCHITECTURE, PLACEHOLDER

load_libsndfile()

from fairseq2.recipe.config import AdamWConfig  # noqa: E402
from fairseq2.recipe.optim import prepare_parameter_groups  # noqa: E402

from echox.recipes.sections import to_sections  # noqa: E402
from echox.trainer.schedule import Cosine, CosineConfig  # noqa: E402

MODEL = S2T(ARCHITECTURE, PLACEHOLDER)


def groups_of(model: nn.Module, **fields: Any) -> Mapping[str, tuple[float, float]]:
    """Learning rate and decay of each weight."""
    config = to_sections(StageConfig(optimizer=OptimizerConfig(**fields))).optimizer.config
    assert isinstance(config, AdamWConfig)
    groups: Any = prepare_parameter_groups(model, config.groups)
    optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_matrices_are_decayed_and_nothing_else() -> None:
    decays = {name: decay for name, (_, decay) in groups_of(MODEL, weight_decay=0.3).items()}
    assert decays.keys() == dict(MODEL.named_parameters()).keys()
    vectors = {name for name, parameter in MODEL.named_parameters() if parameter.ndim == 1}
    tables = {f"{name}.weight" for name, _ in MODEL.named_modules() if "embed" in name.rpartition(".")[2]}
    assert {name for name, decay in decays.items() if decay == 0.0} == vectors | (tables & decays.keys())
    assert {decay for name, decay in decays.items() if name not in vectors | tables} == {0.3}


def test_parts_have_rates_of_their_own_also_inside_ddp() -> None:
    for model, prefix in ((MODEL, ""), (nn.ModuleDict({"module": MODEL}), "module.")):
        groups = groups_of(model, lr=1e-3, part_lrs={"adapter": 1e-2, "llm": 1e-5}, weight_decay=0.1)
        assert groups[f"{prefix}adapter.projection.weight"] == (1e-2, 0.1)
        assert groups[f"{prefix}adapter.projection.bias"] == (1e-2, 0.0)
        rates = {(name.removeprefix("module.").partition(".")[0], rate) for name, (rate, _) in groups.items()}
        assert rates == {("adapter", 1e-2), ("llm", 1e-5), ("encoder", 1e-3)}


@pytest.mark.parametrize(("steps", "warmup", "final"), [(100, 10, 0.1), (50, 0, 0.0), (7, 3, 1.0)])
def test_the_schedule_is_fairseq2s(steps: int, warmup: int, final: float) -> None:
    weight = nn.Parameter(torch.zeros(1))
    ours, theirs = (torch.optim.SGD([weight], lr=0.3) for _ in range(2))
    schedules = (
        Cosine(ours, CosineConfig(steps=steps, warmup=warmup, final=final)),
        CosineAnnealingLR(theirs, steps - warmup, warmup, final_lr=final * 0.3),
    )
    for step in range(steps):
        rates = [schedule.get_last_lr()[0] for schedule in schedules]
        assert rates[0] == pytest.approx(rates[1], rel=1e-12), step
        for optimizer, schedule in zip((ours, theirs), schedules, strict=True):
            optimizer.step()
            schedule.step()
    assert schedules[0].get_last_lr()[0] == pytest.approx(final * 0.3), "it stays there, and does not begin again"


def test_a_state_has_the_position_and_the_settings_have_the_shape() -> None:
    optimizer, longer = (torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0) for _ in range(2))
    old = CosineAnnealingLR(optimizer, 10, 0)  # as earlier versions saved it
    for _ in range(10):
        optimizer.step()
        old.step()
    new = Cosine(longer, CosineConfig(steps=20))
    new.load_state_dict(old.state_dict())
    longer.load_state_dict(optimizer.state_dict())
    assert longer.param_groups[0]["lr"] == pytest.approx(0.5), "half of the longer curve"
    longer.step()
    new.step()
    assert longer.param_groups[0]["lr"] == pytest.approx(CosineConfig(steps=20).share(11))
