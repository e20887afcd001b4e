"""Killed and resumed, and spread over workers, training learns the same."""

import resource
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from echox.errors import EchoxError
from echox.training import TrainingRequest
from tests.echox.runs import ask, equal, finish, losses, metrics, start, train_here, train_with

pytestmark = pytest.mark.slow


def last_weights(out: Path, step: int) -> dict[str, torch.Tensor]:
    path = out / f"checkpoints/step_{step}/model/pp_00/tp_00/sdp_00.pt"
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("stage", ["t2c", "s2t"])
def test_killed_and_resumed_it_ends_with_the_same_bits(tones: str, tmp_path: Path, stage: str) -> None:
    steps = ("schedule.steps=20", "parallel.gradient_accumulation=2")
    whole, broken = (ask(stage, tones, tmp_path / name, *steps) for name in ("whole", "broken"))
    finish(start(whole))
    finish(start(broken, kill_at=6), expected=-signal.SIGKILL)
    assert 6 <= metrics(tmp_path / "broken")[-1]["step"] < 20
    train_here(broken)
    assert equal(last_weights(tmp_path / "whole", 20), last_weights(tmp_path / "broken", 20))
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


def test_two_workers_learn_what_one_with_accumulation_learns(tones: str, tmp_path: Path) -> None:
    steps = "schedule.steps=12"
    train_here(ask("t2c", tones, tmp_path / "one", steps, "parallel.gradient_accumulation=2"))
    for strategy in ("ddp", "fsdp"):
        out = tmp_path / strategy
        train_with(2, ask("t2c", tones, out, steps, f"parallel.strategy={strategy}"))
        assert losses(out) == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
        valid = [
            [line["valid/loss"] for line in metrics(run) if "valid/loss" in line] for run in (out, tmp_path / "one")
        ]
        assert valid[0] == pytest.approx(valid[1], rel=1e-3)
    with pytest.raises(EchoxError, match="by 2 workers"):
        train_here(ask("t2c", tones, tmp_path / "ddp", steps, "parallel.strategy=ddp"))


def test_echo_writes_its_targets_on_two_workers(tones: str, tmp_path: Path) -> None:
    quick, sources = ("schedule.steps=4",), {name: str(tmp_path / name) for name in ("s2t", "t2c")}
    for stage in ("s2t", "t2c"):
        train_here(ask(stage, tones, tmp_path / stage, *quick))
    settings = (*quick, "max_new_tokens=12", "max_words=24", "loss.s2t_weight=1")
    for strategy in ("ddp", "fsdp"):
        train_with(2, ask("echo", tones, tmp_path / strategy, *settings, f"parallel.strategy={strategy}", **sources))
    assert losses(tmp_path / "ddp") == pytest.approx(losses(tmp_path / "fsdp"), rel=1e-2)


@contextmanager
def small_files() -> Generator[None]:
    """Processes that are started here cannot write checkpoints: the files would be too long."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def steps_saved(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "checkpoints").glob("step_*") if path.suffix != ".tmp")


def test_a_failed_save_leaves_the_checkpoint_before(
    tones: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, broken = (ask("t2c", tones, tmp_path / name, "schedule.steps=8") for name in ("whole", "broken"))
    finish(start(whole))
    finish(start(broken, kill_at=6), expected=-signal.SIGKILL)
    with small_files():
        process = start(broken)
    errors = process.communicate(timeout=300)[1].decode()
    assert process.returncode == 1
    assert "the checkpoint of step 8 could not be saved" in errors
    assert "the same command goes on from step 4" in errors
    assert steps_saved(tmp_path / "broken") == ["step_4"]
    train_here(broken)
    assert "the checkpoint of step 8 was not saved to its end: goes on from the one before, of step 4" in caplog.text
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


def killed_while_saving(request: TrainingRequest, step: int) -> bool:
    """Train in another process that is killed as soon as it begins to save a step; whether that was soon enough."""
    saving = Path(request.out, f"checkpoints/step_{step}.tmp")
    process = start(request)
    while not saving.exists() and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    process.communicate()
    return saving.exists()


def test_a_run_that_is_killed_while_it_saves_goes_on_from_the_checkpoint_before(
    tones: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The step before the last is saved while training goes on, the last one while it waits."""
    for step in (8, 12):
        request = ask("t2c", tones, tmp_path / f"killed-{step}", "schedule.steps=12")
        assert killed_while_saving(request, step)
        assert steps_saved(Path(request.out)) == [f"step_{step - 4}"]
        caplog.clear()
        train_here(request)
        assert f"step {step} was not saved to its end: goes on from the one before, of step {step - 4}" in caplog.text
        assert not list(Path(request.out, "checkpoints").glob("*.tmp"))
    assert losses(tmp_path / "killed-8") == losses(tmp_path / "killed-12")


def test_a_run_without_any_checkpoint_says_that_it_begins_again(
    tones: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request = ask("t2c", tones, tmp_path / "run", "schedule.steps=4")
    with small_files():
        process = start(request)
    finish(process, expected=1)
    assert not steps_saved(tmp_path / "run")
    train_here(request)
    assert "was trained to step 4, but no checkpoint was saved: begins again at step 0" in caplog.text
    assert steps_saved(tmp_path / "run") == ["step_4"]
