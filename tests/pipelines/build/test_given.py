"""Quantizer and unit language of another store: the same bytes, the same units, and nothing is fitted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.report.facts import compression_note, facts
from pipelines.build.commit import Built
from pipelines.build.encode_audio import Encoder
from pipelines.build.handover import STEP_NAMES, begin, built
from pipelines.build.repair import repair
from pipelines.build.runners import run_steps, step_runner
from pipelines.build.verify import verify
from pipelines.config.build import BuildConfig, check_config, load_config
from pipelines.errors import UserError
from pipelines.steps.fit_quantizer import FitQuantizer, SampleFeatures
from pipelines.steps.fit_unit_language import FitUnitLanguage
from storage.artifacts import get_artifact
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version
from tests.speech import write_speech

pytestmark = pytest.mark.slow

Config = dict[str, Any]
RunBuild = Callable[..., Built]
KINDS = ("quantizer", "unit_language")


@pytest.fixture
def lender(config: Config, run_build: RunBuild) -> Version:
    """A corpus of 12 clips."""
    return run_build(config).version


@pytest.fixture
def borrower(config: Config, lender: Version, tmp_path: Path) -> Config:
    """The config of a corpus of other speech, which states no settings of units and words."""
    values = {name: config[name] for name in ("shards", "work_units")}
    speech = write_speech(tmp_path / "others", 5, start=30)
    source = {"kind": "folder", "path": str(speech), "dataset": "others"}
    return {**values, "store": str(tmp_path / "b"), "sources": [source], "artifacts_from": lender.uri}


@pytest.fixture
def nothing_is_fitted(lender: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to fit anything after the lender's artifacts."""

    def refuse(*_: object) -> Any:
        raise AssertionError(f"a fit was begun after {lender.uri}")

    monkeypatch.setattr(SampleFeatures, "open", refuse)
    for step in (FitQuantizer, FitUnitLanguage):
        monkeypatch.setattr(step, "fit", refuse)


def files(version: Version, kind: str) -> dict[str, bytes]:
    store = Store.open(version.store)
    folder = version.artifact(kind).path
    assert get_artifact(store, kind, version.artifact(kind).fingerprint)  # checks each file against its checksum
    return {path: store.get(path) for path in store.list(folder)}


def units(version: Version) -> dict[str, list[int]]:
    store = Store.open(version.store)
    found = [row for file in version.files("units") for row in read_table(store, file.path).to_pylist()]
    return {row["utterance_id"]: row["units"] for row in found}


def check_borrowed(built_version: Version, lender: Version, borrower: Config) -> None:
    """Same artifacts, and units and words as `echox encode` gives them by the lender's."""
    assert built_version.artifacts == lender.artifacts
    assert [files(built_version, kind) for kind in KINDS] == [files(lender, kind) for kind in KINDS]
    encoder = Encoder.of(lender.uri)
    folder = Path(borrower["sources"][0]["path"])
    made = units(built_version)
    assert sorted(made) == [f"others/{path.name}" for path in sorted(folder.glob("*.wav"))]
    for name, sequence in made.items():
        assert sequence == encoder(str(folder / Path(name).name))["units"]
    assert list(verify(Store.open(built_version.store), built_version)) == []


@pytest.mark.usefixtures("nothing_is_fitted")
def test_another_corpus_uses_the_same_units_and_words(lender: Version, borrower: Config, run_build: RunBuild) -> None:
    version = run_build(borrower).version
    check_borrowed(version, lender, borrower)
    assert (version.config["quantizer"]["k"], version.config["unit_language"]["vocab_size"]) == (20, 60)
    shutil.rmtree(lender.store)
    again = run_build(borrower)
    assert (again.new, again.version.number) == (False, 1), "the other store is not needed any more"
    write_speech(Path(borrower["sources"][0]["path"]), 1, start=40)
    grown = run_build(borrower).version
    assert (grown.number, grown.artifacts, len(units(grown))) == (2, lender.artifacts, 6)


@pytest.mark.parametrize("separate_processes", [False, True])
def test_what_the_unit_language_was_learnt_from_is_told(
    lender: Version, borrower: Config, run_build: RunBuild, *, separate_processes: bool
) -> None:
    version = by_steps(borrower) if separate_processes else run_build(borrower).version
    found = facts(Store.open(version.store), version)
    hours = found["hours"]
    assert found["learnt_from"] == {
        "version": 1,
        "hours": pytest.approx(facts(Store.open(lender.store), lender)["hours"]),
        "hours_added_since": hours,
        "corpus": lender.store,
    }
    assert f"h of {lender.uri}." in compression_note(hours, found["learnt_from"])
    third = run_build({**borrower, "store": f"{version.store}-c", "artifacts_from": version.uri}).version
    assert third.artifacts == lender.artifacts
    assert third.lineage["came_with"] == version.lineage["came_with"], "the corpus that fitted it, not the last lender"


def by_steps(values: Config) -> Version:
    """Build as Prefect and Ray jobs do: each step starts from what the one before left in the store."""
    config = BuildConfig.model_validate(check_config(values, "test", Path.cwd()).model_dump(exclude_unset=True))
    with step_runner(config, None, Console(quiet=True)) as run:
        done = run_steps(begin(config), run)
    assert done.step == STEP_NAMES[-1]
    return built(done).version


def test_a_store_in_a_bucket_lends_and_borrows(
    config: Config, borrower: Config, run_build: RunBuild, s3_bucket: str
) -> None:
    lender = run_build({**config, "store": f"{s3_bucket}/a"}).version
    version = run_build({**borrower, "artifacts_from": lender.uri}).version
    check_borrowed(version, lender, borrower)
    inside = run_build({**borrower, "store": f"{s3_bucket}/b", "artifacts_from": version.uri}).version
    check_borrowed(inside, lender, borrower)
    assert not run_build({**borrower, "store": f"{s3_bucket}/b", "artifacts_from": version.uri}).new


def test_settings_that_agree_may_be_stated(
    config: Config, lender: Version, borrower: Config, run_build: RunBuild
) -> None:
    stated = {name: config[name] for name in KINDS} | {"features": {"kind": "mfcc"}}
    version = run_build({**borrower, **stated}).version
    assert version.artifacts == lender.artifacts
    del borrower["artifacts_from"]
    assert not run_build({**borrower, **stated}).new, "the same settings do not fit them anew"


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({"quantizer": {"k": 30}}, "quantizer.k: 30, but the quantizer of"),
        ({"quantizer": {"seed": 1, "iterations": 9}}, "quantizer.seed: 1, but the quantizer of"),
        ({"unit_language": {"vocab_size": 70}}, "unit_language.vocab_size: 70, but the unit_language of"),
        ({"unit_language": {"algorithm": "unigram"}}, "unit_language.algorithm: 'unigram', but the unit_language of"),
        ({"artifacts_from": "{store}@7"}, "artifacts_from.quantizer: {store} has no version 7; it has 1"),
        ({"artifacts_from": "{store}-none@1"}, "artifacts_from.quantizer: no store at {store}-none"),
        ({"artifacts_from": "{store}"}, "artifacts_from.quantizer: names no version of a store"),
        ({"artifacts_from": 3}, "artifacts_from: must be STORE@VERSION, or a mapping"),
        ({"artifacts_from": {"words": "{store}@1"}}, "artifacts_from.words: is not a field here"),
    ],
)
def test_what_contradicts_the_artifacts_is_refused(
    lender: Version, borrower: Config, run_build: RunBuild, stated: Config, told: str
) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(inner) for name, inner in value.items()}
        return value.replace("{store}", lender.store) if isinstance(value, str) else value

    with pytest.raises(UserError) as caught:
        run_build({**borrower, **filled(stated)})
    assert told.replace("{store}", lender.store) in str(caught.value)
    assert not list(Store.open(borrower["store"], create=True).list()), "nothing is written"


def test_all_contradictions_are_told_together(borrower: Config, run_build: RunBuild, lender: Version) -> None:
    with pytest.raises(UserError) as caught:
        run_build({**borrower, "quantizer": {"k": 30, "seed": 4}, "unit_language": {"vocab_size": 70}})
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "quantizer.k",
        "quantizer.seed",
        "unit_language.vocab_size",
    ]


def test_a_corpus_with_other_artifacts_needs_refit(
    config: Config, lender: Version, borrower: Config, run_build: RunBuild
) -> None:
    taken = borrower.pop("artifacts_from")
    own = run_build({**borrower, "quantizer": {"k": 25}, "unit_language": {"vocab_size": 50}}).version
    borrower["artifacts_from"] = taken
    with pytest.raises(UserError, match=r"has the quantizer .* set `refit: true`"):
        run_build(borrower)
    version = run_build({**borrower, "refit": True}).version
    assert (version.number, version.artifacts) == (2, lender.artifacts)
    check_borrowed(version, lender, borrower)
    shutil.rmtree(lender.store)
    assert not run_build({**borrower, "refit": True}).new
    back = run_build({**borrower, "refit": True, "artifacts_from": own.uri}).version
    assert (back.number, back.artifacts) == (3, own.artifacts), "an earlier version of the same store lends too"


def test_a_unit_language_of_another_quantizer_is_refused_before_the_long_steps(
    lender: Version, borrower: Config, run_build: RunBuild
) -> None:
    alone = {**borrower, "artifacts_from": {"unit_language": lender.uri}, "quantizer": {"k": 25}}
    with pytest.raises(UserError, match="it was learnt on units of quantizer"):
        run_build(alone)
    assert not list(Store.open(borrower["store"]).list("data/units"))


def test_a_quantizer_alone_gets_words_of_its_own(lender: Version, borrower: Config, run_build: RunBuild) -> None:
    version = run_build(
        {**borrower, "artifacts_from": {"quantizer": lender.uri}, "unit_language": {"vocab_size": 40}}
    ).version
    assert version.artifacts["quantizer"] == lender.artifacts["quantizer"]
    assert version.artifacts["unit_language"] != lender.artifacts["unit_language"]
    assert set(version.lineage["came_with"]["quantizer"]) == {"version", "samples", "corpus"}
    assert version.lineage["came_with"]["unit_language"]["version"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_artifacts_are_never_taken(lender: Version, borrower: Config, run_build: RunBuild, kind: str) -> None:
    folder = Path(lender.store, lender.artifact(kind).path)
    path = next(path for path in sorted(folder.iterdir()) if path.suffix in {".safetensors", ".model"})
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=f"artifacts_from.{kind}: .*SHA-256 differs"):
        run_build(borrower)


def test_a_lost_artifact_is_repaired_from_the_other_store(
    lender: Version, borrower: Config, run_build: RunBuild
) -> None:
    version = run_build(borrower).version
    before = files(version, "unit_language")
    for path in before:
        if not path.endswith("checksums.json"):
            Path(version.store, path).unlink()
    done = list(repair(Store.open(version.store), version))
    assert {fix.path for fix in done if fix.done} == {path for path in before if not path.endswith("checksums.json")}
    assert files(version, "unit_language") == before


def test_a_path_starts_at_the_folder_of_the_config(lender: Version, borrower: Config, tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    source = borrower["sources"][0]
    path.write_text(
        f"store: b\nsources: [{{kind: folder, path: {source['path']}, dataset: others}}]\n"
        f"artifacts_from: {Path(lender.store).name}@1\n"
    )
    found = load_config(path).artifacts_from
    assert found is not None
    assert found.places() == dict.fromkeys(KINDS, lender.uri)


def test_a_build_in_steps_knows_what_the_config_leaves_open(config: Config, speech: Path, run_build: RunBuild) -> None:
    """The task of a manifest's dialogue is open unless the config states one; then it is no transcript."""
    turns = [
        {"audio": str(path), "text": "so", "dialogue_id": "d", "turn": number, "role": role}
        for number, (path, role) in enumerate(zip(sorted(speech.glob("*.wav")), ("user", "assistant") * 6, strict=True))
    ]
    manifest = Path(config["store"]).with_name("turns.json")
    manifest.write_text(json.dumps(turns))
    config["sources"][0] |= {"kind": "manifest", "path": str(manifest)}
    at_once = run_build(config).version
    in_steps = by_steps({**config, "store": config["store"] + "-2"})
    assert tasks(in_steps) == tasks(at_once) == {"sqa"}


def tasks(version: Version) -> set[str]:
    store = Store.open(version.store)
    return {task for file in version.files("utterances") for task in read_table(store, file.path)["task"].to_pylist()}
