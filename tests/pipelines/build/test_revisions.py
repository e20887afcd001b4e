"""A higher revision of a step computes nothing by itself; what it makes stands beside what earlier ones made."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.report.facts import facts
from flows.report.grids import lineage_rows
from pipelines.build.commit import Built
from pipelines.build.verify import verify
from pipelines.config.build import check_config
from pipelines.errors import UserError
from pipelines.outlook.outlook import outlook
from pipelines.steps import computations, table_steps
from storage.store import Store
from storage.versions import Version
from tests.speech import write_speech

pytestmark = pytest.mark.slow

Config = dict[str, Any]
RunBuild = Callable[..., Built]
STEPS = ("ingest", "quantize", "encode", "shard")


@pytest.fixture
def folder(config: Config, speech: Path, tmp_path: Path) -> Path:
    """A source of 12 clips that a test may change."""
    own = Path(shutil.copytree(speech, tmp_path / "own"))
    config["sources"][0]["path"] = str(own)
    return own


@pytest.fixture
def first(config: Config, folder: Path, run_build: RunBuild) -> Version:
    """The version that today's program makes of `folder`."""
    assert folder.is_dir()
    return run_build(config).version


def raised(monkeypatch: pytest.MonkeyPatch, *steps: str, by: int = 1) -> None:
    """Let the program have a higher revision of some steps."""
    for step in steps:
        monkeypatch.setattr(computations()[step], "revision", computations()[step].revision + by)


def refuse(*_: object) -> Any:
    raise AssertionError("a step was opened although there is nothing to do")


def revisions(version: Version) -> dict[str, dict[str, int]]:
    return facts(Store.open(version.store), version)["lineage"]["revisions"]


def names(version: Version, step: str) -> set[str]:
    return {receipt.fingerprint for receipt in version.steps[step]}


def now(step: str) -> str:
    return str(table_steps()[step].revision)


@pytest.mark.parametrize("by", [1, 3])
@pytest.mark.parametrize("steps", [*((step,) for step in STEPS), STEPS])
def test_a_higher_revision_has_nothing_to_do(
    first: Version, config: Config, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch, steps: tuple[str], by: int
) -> None:
    raised(monkeypatch, *steps, by=by)
    with monkeypatch.context() as patched:
        for step in computations().values():
            patched.setattr(step, "open", refuse)
        shutil.move(config["sources"][0]["path"], f"{config['sources'][0]['path']}-moved")
        config["sources"][0]["path"] += "-moved"
        assert not run_build(config).new
    raised(monkeypatch, *steps)
    assert not run_build(config).new, "nor after one more"
    assert first.number == 1


def test_nothing_needs_sources_that_are_gone(
    first: Version, config: Config, folder: Path, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(11):
        (folder / f"clip{number:03d}.wav").unlink()
    raised(monkeypatch, *STEPS)
    built = run_build(config)
    assert (built.new, built.changes.gone, built.changes.kept) == (False, 11, 1)
    assert built.version.steps == first.steps


def test_new_work_is_done_by_the_new_revision_and_the_mixture_is_shown(
    first: Version, config: Config, folder: Path, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {step: now(step) for step in STEPS}
    assert {step: {*counts} for step, counts in revisions(first).items()} == {n: {r} for n, r in before.items()}
    raised(monkeypatch, *STEPS)
    write_speech(folder, 2, start=20)
    (folder / "clip003.txt").write_text("mended")
    second = run_build(config).version
    for step in STEPS:
        kept, made = names(second, step) & names(first, step), names(second, step) - names(first, step)
        found = revisions(second)[step]
        assert (found.get(before[step], 0), found[now(step)]) == (len(kept), len(made))
        assert made
        assert kept or step == "shard", "each of these small shards has a changed work unit"
    rows = dict(lineage_rows(facts(Store.open(second.store), second)))
    assert rows["revisions quantize"].startswith("1: ")
    assert "; " not in rows["revisions quantize"]
    assert list(verify(Store.open(second.store), second)) == []
    assert not run_build(config).new
    assert not any(name.startswith("revisions") for name, _ in lineage_rows(facts(Store.open(first.store), first)))


@pytest.mark.parametrize("step", STEPS)
def test_work_is_done_again_where_it_is_asked_for(
    first: Version, config: Config, folder: Path, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    raised(monkeypatch, *STEPS)
    write_speech(folder, 2, start=20)
    mixed = run_build(config).version
    asked = {**config, "recompute": [step]}
    again = run_build(asked).version
    assert {*revisions(again)[step]} == {now(step)}
    assert names(again, step) & names(first, step) == set()
    if step in {"quantize", "encode"}:
        assert names(again, step) > names(mixed, step) - names(first, step), "what the revision made before stays"
        assert again.steps["ingest"] == mixed.steps["ingest"]
    assert list(verify(Store.open(again.store), again)) == []
    assert not run_build(asked).new
    assert not run_build(config).new, "without being asked for, it stays as it is now"


def test_what_stays_and_what_it_would_cost_is_told(
    first: Version,
    config: Config,
    run_build: RunBuild,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    raised(monkeypatch, "quantize")
    with caplog.at_level(logging.WARNING):
        run_build(config)
    (told,) = caplog.messages
    count = len(first.steps["quantize"])
    assert told.startswith(f"quantize: {count} work units (0.0")
    assert "this program has revision 2; --recompute quantize makes them again, in about 0.000 core hours" in told
    (work,) = outlook(check_config(config, "test", Path.cwd())).earlier
    seconds = sum(length for receipt in first.steps["ingest"] for length in receipt.stats["seconds"])
    assert (work.step, work.revision, work.work_units) == ("quantize", 2, count)
    assert (work.hours, work.core_hours) == pytest.approx((seconds / 3600, seconds / 3600 / 400))
    asked = outlook(check_config({**config, "recompute": ["quantize"]}, "test", Path.cwd()))
    assert (asked.earlier, {step.step: step.work_units for step in asked.steps}["quantize"]) == ([], count)


def test_ingest_anew_needs_all_sources(
    first: Version, config: Config, folder: Path, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first.number == 1
    (folder / "clip001.wav").unlink()
    raised(monkeypatch, "ingest")
    with pytest.raises(UserError, match=r"^recompute: ingest reads all speech again, but the sources no longer list 1"):
        run_build({**config, "recompute": ["ingest"]})


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("fit_quantizer", "fit_quantizer writes no tables"),
        ("quantise", "did you mean `quantize`?"),
        ("sample_features", "sample_features writes no tables"),
    ],
)
def test_only_steps_that_write_tables_can_be_asked_for(
    config: Config, run_build: RunBuild, asked: str, told: str
) -> None:
    with pytest.raises(UserError, match=r"recompute\[0\]: ") as caught:
        run_build({**config, "recompute": [asked]})
    assert told in str(caught.value)
