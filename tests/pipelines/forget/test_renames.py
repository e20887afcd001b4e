"""Withdrawn speech stays withdrawn when its dataset gets another name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.build.commit import Built
from pipelines.build.verify import verify
from pipelines.engine.state import BuildState
from pipelines.forget.absent import said_by_others, search
from pipelines.forget.erase import erase
from pipelines.forget.forget import Forgotten
from pipelines.forget.traces import Traces
from storage.copying.copy import copy_versions
from storage.copying.plan import open_target, plan_copy
from storage.store import Store
from storage.versions import Version
from tests.pipelines.conftest import rows
from tests.speech import RATE, voice

Config = dict[str, Any]
RunBuild = Callable[..., Built]
Forgetting = Callable[..., Forgotten]


@pytest.fixture
def spoken(spoken: Path) -> Path:
    """The manifest with ids that are no paths, so that an entry may have another file."""
    write(spoken, [row | {"id": f"u{number:02d}"} for number, row in enumerate(read(spoken))])
    return spoken


def read(manifest: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def write(manifest: Path, told: list[dict[str, Any]]) -> None:
    manifest.write_text("".join(json.dumps(row) + "\n" for row in told))


def recorded_again(manifest: Path, number: int) -> None:
    """Other audio of the same entry."""
    soundfile.write(manifest.parent / f"clip{number:03d}.wav", voice(3.0, 100 + number), RATE, subtype="PCM_16")


def rename(config: Config, new: str, position: int = 0) -> None:
    source = config["sources"][position]
    source |= {"renamed_from": source["dataset"], "dataset": new}


def names(version: Version) -> set[str]:
    return {*rows(version, "utterances"), *rows(version, "rejects")}


def is_settled(version: Version, config: Config, run_build: RunBuild) -> None:
    """The version is whole, and the sources of today say nothing that it lacks, with and without the old name."""
    assert list(verify(Store.open(version.store), version)) == []
    assert not run_build(config).new
    plain = [{name: value for name, value in source.items() if name != "renamed_from"} for source in config["sources"]]
    assert not run_build({**config, "sources": plain}).new


def traces(store: str) -> list[tuple[str, Any]]:
    """Files that hold what was withdrawn."""
    opened = Store.open(store)
    wanted = Traces.of(opened)
    wanted = wanted.besides(said_by_others(opened, wanted))
    return [(file.path, file.found) for file in search(opened, wanted) if file.found]


def test_an_id_stays_out_after_a_rename_though_its_audio_is_another(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting
) -> None:
    run_build(config)
    forgetting(config["store"], ids=frozenset({"clips/u01"}))
    rename(config, "voices")
    recorded_again(spoken, 1)
    version = run_build(config).version
    assert names(version) == {f"voices/u{number:02d}" for number in range(12) if number != 1}
    is_settled(version, config, run_build)
    erase(config["store"])
    assert traces(config["store"]) == []


def test_an_id_that_comes_later_stays_out_after_two_renames_and_back(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting
) -> None:
    """The ids were never in the corpus; each is withdrawn under the name of its day."""
    told = read(spoken)
    write(spoken, told[3:])
    run_build(config)
    for day, new in enumerate(("voices", "tapes", "clips")):
        forgetting(config["store"], ids=frozenset({f"{config['sources'][0]['dataset']}/u{day:02d}"}))
        rename(config, new)
        run_build(config)
    write(spoken, told)
    version = run_build(config).version
    assert names(version) == {f"clips/u{number:02d}" for number in range(3, 12)}
    is_settled(version, config, run_build)


def test_an_id_may_be_withdrawn_by_its_old_name_after_a_rename(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting
) -> None:
    """It is found under its new name, and so is one whose audio is another now, and one that is not there yet."""
    told = read(spoken)
    write(spoken, told[1:])
    run_build(config)
    rename(config, "voices")
    recorded_again(spoken, 1)
    run_build(config)
    found = forgetting(config["store"], ids=frozenset({"clips/u00", "clips/u01", "clips/u02"}))
    assert (found.utterances, found.unknown) == (3, 1), "two recordings of u01, and u02"
    assert names(found.built.version) == {f"voices/u{number:02d}" for number in range(3, 12)}
    write(spoken, told)
    version = run_build(config).version
    assert names(version) == {f"voices/u{number:02d}" for number in range(3, 12)}
    is_settled(version, config, run_build)
    erase(config["store"])
    assert traces(config["store"]) == []


@pytest.mark.parametrize(
    ("wanted", "left"),
    [({"speaker": "bob"}, 8), ({"speaker": "bob", "dataset": "voices"}, 8), ({"licence": "CC0"}, 11)],
)
def test_a_speaker_is_withdrawn_from_the_versions_before_a_rename_too(
    wanted: dict[str, str], left: int, config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting
) -> None:
    """Speech that was recorded again since is known by speaker, licence and dataset, which is one under both names."""
    told = read(spoken)
    told[1]["licence"] = "CC0"
    write(spoken, told)
    run_build(config)
    rename(config, "voices")
    recorded_again(spoken, 1)
    run_build(config)
    found = forgetting(config["store"], **wanted)
    assert found.versions == [1, 2]
    assert len(names(found.built.version)) == left
    is_settled(found.built.version, config, run_build)
    erase(config["store"])
    assert traces(config["store"]) == []


def test_a_whole_dataset_is_withdrawn_under_all_its_names(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting
) -> None:
    other = Path(shutil.copytree(spoken.parent, spoken.parent.with_name("other")))
    for path in other.glob("*.wav"):
        soundfile.write(path, voice(2.0, int(path.stem[-3:]) + 50), RATE, subtype="PCM_16")
    config["sources"].append({"kind": "manifest", "path": str(other / spoken.name), "dataset": "other"})
    run_build(config)
    rename(config, "voices")
    recorded_again(spoken, 1)
    run_build(config)
    found = forgetting(config["store"], dataset="voices")
    assert (found.utterances, found.versions) == (13, [1, 2]), "12, and one that was recorded again"
    assert names(found.built.version) == {f"other/u{number:02d}" for number in range(12)}


def test_a_gone_entry_goes_when_it_gets_a_withdrawn_name(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting
) -> None:
    """The name was withdrawn before the dataset got it; the entry is kept without a source."""
    run_build(config)
    write(spoken, read(spoken)[1:])
    assert "clips/u00" in names(run_build(config).version)
    forgetting(config["store"], ids=frozenset({"voices/u00"}))
    rename(config, "voices")
    version = run_build(config).version
    assert names(version) == {f"voices/u{number:02d}" for number in range(1, 12)}
    is_settled(version, config, run_build)


def test_ids_of_another_dataset_that_takes_the_old_name_are_its_own(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting
) -> None:
    """Speech withdrawn before the rename stays out of both; ids withdrawn later belong to the new dataset."""
    run_build(config)
    forgetting(config["store"], ids=frozenset({"clips/u01"}))
    rename(config, "voices")
    recorded_again(spoken, 1)
    recorded_again(spoken, 2)
    run_build(config)
    del config["sources"][0]["renamed_from"]
    other = Path(shutil.copytree(spoken.parent, spoken.parent.with_name("other")))
    for path in other.glob("*.wav"):
        soundfile.write(path, voice(2.0, int(path.stem[-3:]) + 50), RATE, subtype="PCM_16")
    config["sources"].append({"kind": "manifest", "path": str(other / spoken.name), "dataset": "clips"})
    run_build(config)
    version = forgetting(config["store"], ids=frozenset({"clips/u02"})).built.version
    left = {f"voices/u{number:02d}" for number in range(12) if number != 1}
    left |= {f"clips/u{number:02d}" for number in range(12) if number not in (1, 2)}
    assert names(version) == left
    is_settled(version, config, run_build)


def test_a_copy_knows_the_old_names(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting, tmp_path: Path
) -> None:
    told = read(spoken)
    write(spoken, told[1:])
    run_build(config)
    forgetting(config["store"], ids=frozenset({"clips/u00"}))
    rename(config, "voices")
    version = run_build(config).version
    source = Store.open(config["store"])
    target = open_target(str(tmp_path / "copy"), source)
    list(copy_versions(plan_copy(source, [version.number], target)))
    del config["sources"][0]["renamed_from"]
    write(spoken, told)
    built = run_build({**config, "store": target.uri})
    assert names(built.version) == {f"voices/u{number:02d}" for number in range(1, 12)}


def test_a_rename_by_an_older_program_is_made_good_by_the_next_build(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_build(config)
    forgetting(config["store"], ids=frozenset({"clips/u01"}))
    rename(config, "voices")
    recorded_again(spoken, 1)
    with monkeypatch.context() as patched:
        patched.setattr(BuildState, "earlier_names", {})
        assert "voices/u01" in names(run_build(config).version)
    del config["sources"][0]["renamed_from"]
    version = run_build(config).version
    assert names(version) == {f"voices/u{number:02d}" for number in range(12) if number != 1}
    is_settled(version, config, run_build)


def test_a_channel_stays_out_after_a_rename(
    config: Config, spoken: Path, run_build: RunBuild, forgetting: Forgetting
) -> None:
    def record(seed: int) -> None:
        both = np.stack([voice(2.0, seed), voice(2.0, seed + 1)], axis=1)
        soundfile.write(spoken.parent / "clip001.wav", both, RATE, subtype="PCM_16")

    record(200)
    config["sources"][0]["channel"] = "each"
    run_build(config)
    forgetting(config["store"], ids=frozenset({"clips/u01#channel0"}))
    rename(config, "voices")
    record(300)
    version = run_build(config).version
    assert {name for name in names(version) if "u01" in name} == {"voices/u01#channel1"}
    is_settled(version, config, run_build)
