from collections.abc import Sequence

import pytest

from echox.errors import EchoxError
from echox.recipes.config import StageConfig
from echox.recipes.settings import load_settings as load
from echox.recipes.stages.echo import EchoStageConfig
from echox.recipes.stages.s2t import S2TStageConfig
from echox.recipes.stages.t2c import T2CStageConfig
from echox.renamed import warn_renamed
from echox.stages import stage_class


def load_settings(stage: str, architecture: str, settings: Sequence[str]) -> StageConfig:
    return load(stage_class(stage), architecture, settings)


def test_settings_go_over_the_defaults_of_the_architecture() -> None:
    plain = load_settings("t2c", "tiny", ())
    changed = load_settings("t2c", "tiny", ("optimizer.lr=1e-4", "optimizer.lr=0.5", "data.valid_batches=null"))
    assert isinstance(changed, T2CStageConfig)
    assert (plain.optimizer.lr, changed.optimizer.lr, changed.data.valid_batches) == (2e-3, 0.5, None)
    assert changed.optimizer.weight_decay == plain.optimizer.weight_decay
    assert load_settings("t2c", "tiny", ()) == plain, "a setting must not change the defaults"


def test_other_architectures_have_the_papers_values() -> None:
    config = load_settings("echo", "echox-8b", ("loss.denoising=dynamic", "segments=null"))
    assert isinstance(config, EchoStageConfig)
    assert (config.optimizer.lr, config.optimizer.betas, config.optimizer.weight_decay) == (1e-5, (0.9, 0.95), 0.1)
    assert (config.loss.denoising, config.segments, config.targets) == ("dynamic", "whole", "pseudo")
    assert config.loss.s2t_weight == 1.0, "equation 4 has the response's loss"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("segments=trigger", "trigger.early=25"), ("trigger", 20, 60, 25)),
        (("segments=null",), ("whole", 20, 60, 20)),
        (("segments.shortest=10",), ("sentences", 10, 60, 20)),
        (("segments={shortest: 5, longest: 9}",), ("sentences", 5, 9, 20)),
        (("sentences.longest=30",), ("sentences", 20, 30, 20)),
    ],
)
def test_segments_are_a_choice_and_were_lengths_before(
    settings: tuple[str, ...], expected: tuple[str, int, int, int], caplog: pytest.LogCaptureFixture
) -> None:
    warn_renamed.cache_clear()
    found = load_settings("echo", "tiny", settings)
    assert isinstance(found, EchoStageConfig)
    assert (found.segments, found.sentences.shortest, found.sentences.longest, found.trigger.early) == expected
    if settings == ("segments=null",):
        assert "is now called sentences.shortest, sentences.longest and segments=whole" in caplog.text
    assert found.loss.s2t_weight == 0.0, "`tiny` has no LoRA"


def test_all_faults_are_told_together() -> None:
    wrong = ("optimizer.lrr=1", "schedule.log_every=7", "seed=-1", "targets=own", "loss.sparkle=1")
    with pytest.raises(EchoxError) as error:
        load_settings("echo", "tiny", wrong)
    for name in ("optimizer.lrr", "schedule", "seed", "targets", "loss.sparkle"):
        assert name in str(error.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optimizer.lrr=1", "is not a field here; did you mean `lr`?"),
        ("optimizer.lr=fast", "must be a number (it is 'fast')"),
        ("parallel={strategy: fdsp}", "parallel.strategy: must be 'ddp' or 'fsdp' (it is 'fdsp')"),
        ("seed={a: 1, a: 2}", "line 1: `a` is already in line 1. Keep one of them."),
        ("data.held_out=2", "must be less than 0.5 (it is 2)"),
    ],
)
def test_a_fault_is_reported_after_the_option_that_caused_it(setting: str, message: str) -> None:
    with pytest.raises(EchoxError) as error:
        load_settings("t2c", "tiny", (setting,))
    assert str(error.value) == f"--set {setting}: {message}"


@pytest.mark.parametrize("setting", ["optimizer.lr", "=3", "seed.lr=1", "optimizer={", "seed=3\nseed: 4"])
def test_malformed_settings_are_refused(setting: str) -> None:
    with pytest.raises(EchoxError):
        load_settings("t2c", "tiny", ("seed=1", setting))


def test_old_names_are_read_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    old = ("data.batch_length=3000", "data={max_length: 64, held_out: 0.2}", "parallel.accumulate=3", "max_answer=7")
    found = load_settings("s2t", "echox-3b", old)
    assert isinstance(found, S2TStageConfig)
    assert (found.data.max_length, found.data.valid_fraction, found.max_new_tokens) == (64, 0.2, 7)
    assert found.parallel.gradient_accumulation == 3
    for name in ("valid_fraction", "data.max_tokens", "parallel.gradient_accumulation", "max_new_tokens"):
        assert f" is now called {name};" in caplog.text


def test_an_old_name_goes_over_a_default_too() -> None:
    assert load_settings("s2t", "tiny", ("data.batch_length=2048",)).data.max_tokens == 2048
    last = load_settings("s2t", "tiny", ("data.max_tokens=3000", "data.batch_length=2048"))
    assert last.data.max_tokens == 2048
