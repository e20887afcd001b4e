"""Memory and hours against sums of their own."""

from dataclasses import replace

import pytest

from echox.architectures import ARCHITECTURES
from echox.costs.counts import count
from echox.costs.memory import Cluster, budget, main, state
from echox.costs.operations import writing
from echox.costs.parameters import stage_counts
from echox.costs.stages import COSTS, example_of, stage_model, stage_work

LARGE = ARCHITECTURES["echox-3b"]
CLUSTER = Cluster(gpus=8, memory=80e9, peak=989e12, bandwidth=3.35e12, utilisation=0.4)


def test_the_data_are_the_papers() -> None:
    stages = COSTS["s2t"].data.hours + COSTS["t2c"].data.hours, COSTS["s2t"].data.examples + COSTS["t2c"].data.examples
    assert stages == (6_194, 1_500_184), "the dialogues, which two stages have, once"


def test_one_gpu_holds_2_bytes_of_a_frozen_weight_and_18_of_a_trained_one() -> None:
    found = state(stage_model(LARGE, "t2c"), 1, writes=False)
    every = stage_counts(LARGE)["t2c"]["all"]
    assert found.total == 2 * (every.total - every.trained) + 18 * every.trained
    assert found.start == 2 * (every.total - every.trained) + 4 * every.trained
    assert found.end == 2 * LARGE.llm.vocabulary * LARGE.llm.decoder.hidden_size, "the frozen table"


def test_eight_gpus_share_what_they_do_not_gather() -> None:
    model = stage_model(LARGE, "echo")
    alone, shared = state(model, 1, writes=True), state(model, 8, writes=True)
    assert (shared.weights, shared.optimizer) == (alone.weights / 8, alone.optimizer / 8)
    assert shared.copies == 2 * count(model).total, "all weights, to write pseudo-labels"
    step = state(model, 8, writes=False).copies
    tables = 2 * LARGE.llm.vocabulary * LARGE.llm.decoder.hidden_size  # embeddings, also the head, and CTC's head
    assert 2 * tables < step < shared.copies


def test_hours_are_operations_over_speed() -> None:
    example = example_of(LARGE, "echo")
    operations = stage_work(LARGE, "echo", example).operations(recompute=False) + writing(LARGE, example)
    hours = 160_223 * operations / (8 * 989e12 * 0.4) / 3600
    assert budget(LARGE, "echo", CLUSTER).hours[0] == pytest.approx(hours)


def test_what_fits_fills_the_memory() -> None:
    found = budget(LARGE, "s2t", CLUSTER)
    for examples, each in zip(found.fit, (found.kept, found.recomputed), strict=True):
        assert examples * each <= 0.9 * 80e9 - found.state.total < (examples + 1) * each
    assert budget(LARGE, "t2c", replace(CLUSTER, memory=1e9)).fit == (0, 0)


def test_the_command_prints_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["echox-8b", "--gpus", "1", "--memory", "141"]) == 0
    printed = capsys.readouterr().out
    assert "1 x 141 GB (one process" in printed
    assert [line.split()[0] for line in printed.splitlines() if line[:4] in ("s2t ", "t2c ", "echo")] == [
        *("s2t", "t2c", "echo") * 4
    ]
    assert main(["tiny"]) == 2
    assert "costs are known for frozen encoders" in capsys.readouterr().err
