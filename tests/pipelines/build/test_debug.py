"""A failure of the program names step, work unit and utterance; `rerun` computes that work unit alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.build.commit import Built
from pipelines.build.debug import rerun
from pipelines.errors import UserError
from unitlang.audio.reading import load
from unitlang.features.mfcc import MfccExtractor

Config = dict[str, Any]


def test_a_bug_in_an_extractor_is_found(
    config: Config, run_build: Callable[..., Built], speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = sorted(speech.glob("*.wav"))[3]
    length, compute = len(load(victim)), MfccExtractor._compute  # pyright: ignore[reportPrivateUsage]

    def broken(self: MfccExtractor, waveform_N: Any) -> Any:
        if len(waveform_N) == length:
            raise ArithmeticError("a bug")
        return compute(self, waveform_N)

    config["quantizer"]["sample_hours"] = 1e-4  # so that the victim is not in the sample
    monkeypatch.setattr(MfccExtractor, "_compute", broken)
    with pytest.raises(ArithmeticError) as caught:
        run_build(config)
    utterance, place, _ = caught.value.__notes__
    assert utterance == f"in utterance clips/{victim.name}, audio {victim}"
    assert place.startswith("in step quantize, work unit ")
    store, step, name = place.rpartition("echox debug ")[2].split()
    assert (store, step) == (config["store"], "quantize")
    with pytest.raises(ArithmeticError):
        rerun(store, step, name)
    monkeypatch.undo()
    assert rerun(store, step, name).rows_out > 0
    assert run_build(config).version.number == 1


def test_a_bug_that_shows_in_the_sample_is_found_as_well(
    config: Config, run_build: Callable[..., Built], speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: MfccExtractor, waveform_N: Any) -> Any:
        raise ArithmeticError("a bug")

    monkeypatch.setattr(MfccExtractor, "_compute", broken)
    with pytest.raises(ArithmeticError) as caught:
        run_build(config)
    utterance, place, _ = caught.value.__notes__
    assert utterance.startswith("in utterance clips/clip0")
    assert str(speech) in utterance
    assert place.startswith("in step sample_features, work unit ")


def test_what_cannot_be_run_again_is_said(config: Config, run_build: Callable[..., Built]) -> None:
    run_build(config)
    with pytest.raises(UserError, match="step quantise: computes no work units; did you mean `quantize`"):
        rerun(config["store"], "quantise", "a")
    with pytest.raises(UserError, match="step fit_quantizer: computes no work units"):
        rerun(config["store"], "fit_quantizer", "a")
    with pytest.raises(UserError, match=r"step sample_features has 0 work units xyz\.\.\.; none of its runs failed"):
        rerun(config["store"], "sample_features", "xyz")


def test_a_work_unit_of_the_last_version_is_computed_again(config: Config, run_build: Callable[..., Built]) -> None:
    version = run_build(config).version
    for step in ("ingest", "quantize", "encode", "shard"):
        for receipt in version.steps[step][:2]:
            assert rerun(config["store"], step, receipt.fingerprint) == receipt
