"""A dry run says what the build after it does, and leaves the store as it is."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import soundfile
from rich.console import Console

from pipelines.build.build import run_until
from pipelines.build.commit import Built
from pipelines.config.build import check_config
from pipelines.engine.ray import THIS_CLUSTER
from pipelines.engine.state import EntryChanges
from pipelines.errors import UserError
from pipelines.forget.forget import forget
from pipelines.forget.wanted import Wanted
from pipelines.outlook.outlook import Outlook, outlook
from pipelines.outlook.prediction import RayRequest
from pipelines.sources import audio_files
from pipelines.steps import computations, table_steps
from storage.receipts import list_receipts
from storage.store import Store
from tests.speech import RATE, voice

Config = dict[str, Any]
RunBuild = Callable[..., Built]
Change = Callable[[Config, Path], object]


def write(folder: Path, count: int, start: int = 0) -> Path:
    """Write clips of 2 seconds each."""
    folder.mkdir(exist_ok=True)
    for number in range(start, start + count):
        soundfile.write(folder / f"clip{number:03d}.wav", voice(2.0, number), RATE, subtype="PCM_16")
        (folder / f"clip{number:03d}.txt").write_text(f"sentence number {number}")
    return folder


@pytest.fixture
def folder(config: Config, tmp_path: Path) -> Path:
    """A source of 12 clips, one of them broken, that a test may change, and a manifest with a broken row."""
    own = write(tmp_path / "own", 12)
    (own / "clip011.wav").write_bytes(b"no audio")
    others = write(tmp_path / "others", 4, start=40)
    rows = [{"audio": str(path), "text": path.stem} for path in sorted(others.glob("*.wav"))]
    rows[3]["start"] = "soon"
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config["sources"] = [
        {"kind": "folder", "path": str(own), "dataset": "clips"},
        {"kind": "manifest", "path": str(tmp_path / "rows.jsonl"), "dataset": "rows"},
    ]
    config["max_reject_ratio"] = 0.5
    return own


def told(config: Config, ray: str | None = None) -> Outlook:
    return outlook(check_config(config, "test", Path.cwd()), ray)


def contents(config: Config) -> dict[str, tuple[bytes, int]]:
    folder = Path(config["store"])
    return {
        str(path): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in (folder, *folder.rglob("*"))
        if path.exists()
    }


def finished(config: Config) -> dict[str, set[str]]:
    store = Store.open(config["store"], create=True)
    return {name: list_receipts(store, name) for name in table_steps()}


def check(config: Config, run_build: RunBuild) -> tuple[Outlook, Built]:
    """Compare a dry run with the build after it."""
    before = contents(config)
    found = told(config)
    assert contents(config) == before, "a dry run writes nothing, and makes no folder"
    known = finished(config)
    built = run_build(config)
    check_entries(found.entries, built.changes)
    assert found.up_to_date == (not built.new)
    computed = {name: len(names - known[name]) for name, names in finished(config).items()}
    planned = dict.fromkeys(computed, 0) | {step.step: step.work_units for step in found.steps}
    # with the same units as before, words need not be made anew, but that is not known before the audio is read
    assert planned["encode"] in {computed["encode"], planned["quantize"]}
    assert {**planned, "encode": 0} == {**computed, "encode": 0}
    if built.new:
        written = Store.open(built.version.store)
        rejects = [receipt.rejects for receipt in built.version.steps["ingest"]]
        assert found.known_rejects <= sum(sum(of.values()) for of in rejects)
        assert (found.version or 0) + 1 == built.version.number
        assert written.uri == found.store
    return found, built


def check_entries(planned: EntryChanges, made: EntryChanges) -> None:
    """Compare counts; which entries are rejected again, or are new rejects, is not known before they are read."""
    assert planned.rejected <= made.rejected
    if planned.rejected == made.rejected:
        assert asdict(planned) == asdict(made)
    for name in ("new", "gone", "removed", "suppressed"):
        assert getattr(planned, name) == getattr(made, name)
    before, after = (counts.changed + counts.mended + counts.kept for counts in (planned, made))
    assert before + planned.healed == after + made.healed
    assert planned.healed >= made.healed


def nothing(_config: Config, _folder: Path) -> None:
    """Nothing happens."""


def comes(_config: Config, folder: Path) -> None:
    write(folder, 2, start=20)


def is_replaced(_config: Config, folder: Path) -> None:
    shutil.copy(folder / "clip006.wav", folder / "clip000.wav")


def is_mended(_config: Config, folder: Path) -> None:
    (folder / "clip003.txt").write_text("mended")
    (folder / "clip004.txt").write_text("mended too")


def is_mended_and_replaced(config: Config, folder: Path) -> None:
    is_mended(config, folder)
    shutil.copy(folder / "clip008.wav", folder / "clip003.wav")


def heals(_config: Config, folder: Path) -> None:
    shutil.copy(folder / "clip006.wav", folder / "clip011.wav")


def heals_in_its_listing(_config: Config, folder: Path) -> None:
    path = folder.parent / "rows.jsonl"
    path.write_text(path.read_text().replace('"soon"', "0"))


def breaks(_config: Config, folder: Path) -> None:
    path = folder.parent / "rows.jsonl"
    path.write_text(path.read_text() + '\n{"audio": "b.wav", "start": "later"}')


def goes_and_stays(_config: Config, folder: Path) -> None:
    (folder / "clip001.wav").unlink()


def goes(config: Config, folder: Path) -> None:
    (folder / "clip001.wav").unlink()
    config["sources"][0]["gone"] = "remove"


def moves(config: Config, folder: Path) -> None:
    config["sources"][0]["path"] = str(folder.rename(folder.with_name("moved")))


def is_renamed(config: Config, _folder: Path) -> None:
    config["sources"][0] |= {"dataset": "better", "renamed_from": "clips"}


def is_renamed_after_one_went(config: Config, folder: Path) -> None:
    goes_and_stays(config, folder)
    is_renamed(config, folder)


def gets_other_words(config: Config, _folder: Path) -> None:
    config["unit_language"] = {"vocab_size": 50}


def gets_other_units(config: Config, _folder: Path) -> None:
    config["quantizer"] = {"k": 22}


def gets_other_shards(config: Config, _folder: Path) -> None:
    config["shards"] = {"hours": 0.01}


def gets_other_work_units(config: Config, _folder: Path) -> None:
    config["work_units"] = {"minutes": 0.1, "items": 7}


def keeps_one_of_each_audio(config: Config, folder: Path) -> None:
    is_replaced(config, folder)
    config["duplicates"] = "reject"


def all_at_once(config: Config, folder: Path) -> None:
    for change in (comes, is_mended_and_replaced, heals, breaks, goes, gets_other_words):
        change(config, folder)


CHANGES: dict[Change, dict[str, int]] = {
    nothing: {"kept": 16, "rejected": 2},
    comes: {"new": 2, "kept": 16, "rejected": 2},
    is_replaced: {"changed": 1, "kept": 15, "rejected": 2},
    is_mended: {"mended": 2, "kept": 14, "rejected": 2},
    is_mended_and_replaced: {"changed": 1, "mended": 1, "kept": 14, "rejected": 2},
    heals: {"healed": 1, "kept": 15, "rejected": 1},
    heals_in_its_listing: {"new": 1, "removed": 1, "kept": 15, "rejected": 1},
    breaks: {"new": 1, "kept": 16, "rejected": 3},
    goes_and_stays: {"gone": 1, "kept": 15, "rejected": 2},
    goes: {"removed": 1, "kept": 15, "rejected": 2},
    moves: {"kept": 16, "rejected": 2},
    is_renamed: {"mended": 11, "healed": 1, "kept": 4, "rejected": 1},
    is_renamed_after_one_went: {"gone": 1, "mended": 10, "healed": 1, "kept": 4, "rejected": 1},
    gets_other_words: {"kept": 16, "rejected": 2},
    gets_other_units: {"kept": 16, "rejected": 2},
    gets_other_shards: {"kept": 16, "rejected": 2},
    gets_other_work_units: {"kept": 16, "rejected": 2},
    keeps_one_of_each_audio: {"changed": 1, "kept": 15, "rejected": 2},
    all_at_once: {"new": 3, "changed": 1, "mended": 1, "healed": 1, "removed": 1, "kept": 12, "rejected": 2},
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_it_says_what_the_build_after_it_does(
    config: Config, folder: Path, run_build: RunBuild, change: Change
) -> None:
    run_build(config)
    change(config, folder)
    found, _ = check(config, run_build)
    assert {name: count for name, count in asdict(found.entries).items() if count} == CHANGES[change]
    assert check(config, run_build)[0].up_to_date


def test_rejects_that_are_tried_again_are_not_known(config: Config, folder: Path, run_build: RunBuild) -> None:
    run_build(config)
    again = config | {"run": {**config.get("run", {}), "retry_rejects": True}}
    found, built = told(again), run_build(again)
    assert (found.entries.healed, found.entries.rejected, found.up_to_date) == (1, 1, False)
    assert (built.changes.healed, built.changes.rejected, built.new) == (0, 2, True)


def test_what_is_withdrawn_is_left_out(config: Config, folder: Path, run_build: RunBuild) -> None:
    run_build(config)
    forget(config["store"], Wanted(dataset="clips"), "a letter", Console(quiet=True))
    found, _ = check(config, run_build)
    assert (found.up_to_date, found.entries.suppressed, found.entries.kept) == (True, 12, 4)


def test_a_first_build(config: Config, folder: Path, run_build: RunBuild) -> None:
    found, built = check(config, run_build)
    assert (found.version, found.entries.new, found.entries.rejected) == (None, 16, 1)
    assert found.fits == ["quantizer", "unit_language"]
    hours = {step.step: step.hours for step in found.steps}
    assert hours["quantize"] == pytest.approx(15 * 2 / 3600), "a broken file is not known before it is read"
    assert sum(length for receipt in built.version.steps["ingest"] for length in receipt.stats["seconds"]) == 14 * 2


def test_an_unfinished_build_is_gone_on_with(config: Config, folder: Path, run_build: RunBuild) -> None:
    run_build(config)
    comes(config, folder)
    run_until(check_config(config, "test", Path.cwd()), Console(quiet=True), "quantize")
    found, _ = check(config, run_build)
    assert [step.step for step in found.steps] == ["encode", "shard"]


def test_a_mended_text_costs_no_decoding(config: Config, folder: Path, run_build: RunBuild) -> None:
    config["work_units"] = {"minutes": 30, "items": 100}
    run_build(config)
    is_mended(config, folder)
    steps = {step.step: step for step in told(config).steps}
    assert steps["quantize"].hours == pytest.approx(2 * 2 / 3600), "of the work unit, only what is changed counts"
    assert steps["quantize"].core_hours == pytest.approx(steps["quantize"].hours / 400)
    assert steps["shard"].bytes > 10 * steps["quantize"].bytes > 0


def test_no_step_is_opened_and_no_audio_of_a_known_dataset_is_read(
    config: Config, folder: Path, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_build(config)
    comes(config, folder)

    def refuse(*_: object) -> Any:
        raise AssertionError("audio was read, or a step was opened")

    for step in computations().values():
        monkeypatch.setattr(step, "open", refuse)
    for name in ("stream_segments", "measure", "checksum"):
        monkeypatch.setattr(audio_files, name, refuse)
    monkeypatch.setattr("pipelines.outlook.lengths.measure", refuse)
    assert told(config).entries.new == 2


def test_what_a_build_refuses_it_refuses_too(config: Config, folder: Path, run_build: RunBuild) -> None:
    run_build(config)
    goes_and_stays(config, folder)
    config["sources"][0]["gone"] = "fail"
    before = contents(config)
    with pytest.raises(UserError, match="entries of the corpus are not listed any more: 1 of clips"):
        told(config)
    assert contents(config) == before


def test_too_many_known_rejects_are_told(config: Config, folder: Path) -> None:
    config["max_reject_ratio"] = 0.01
    found = told(config)
    assert (found.known_rejects, found.max_rejects) == (1, 0)


def test_it_tells_what_ray_is_asked_for(config: Config, folder: Path) -> None:
    run = {"ray_above_seconds": 0, "workers": 3, "memory_per_worker": 0.5}
    here = {step.step: step.ray for step in told({**config, "run": run}).steps}
    assert here["encode"] == RayRequest(3, 1, 0, 0.5)
    there = {step.step: step.ray for step in told({**config, "run": {"ray_above_seconds": 0}}, THIS_CLUSTER).steps}
    assert there["encode"] == RayRequest(None, 1, 0, None)
    shares = {**run, "gpus_per_worker": 0.25}
    hubert = told({**config, "run": shares}).steps
    assert all(step.ray and step.ray.gpus == 0 for step in hubert), "MFCC gains nothing by a GPU"
    assert {step.ray for step in told(config).steps} == {None}


def test_a_store_in_a_bucket_is_not_written(config: Config, folder: Path, run_build: RunBuild, s3_bucket: str) -> None:
    config["store"] = s3_bucket
    assert told(config).version is None
    store = Store.open(s3_bucket, create=True)
    assert list(store.list()) == []
    run_build(config)
    comes(config, folder)
    before = {path: store.get(path) for path in store.list()}
    assert told(config).entries.new == 2
    assert {path: store.get(path) for path in store.list()} == before


def test_artifacts_of_another_store_are_only_read(
    config: Config, folder: Path, run_build: RunBuild, tmp_path: Path
) -> None:
    lender = run_build(config).version
    del config["quantizer"], config["unit_language"]
    borrower = {**config, "store": str(tmp_path / "b"), "artifacts_from": lender.uri}
    found, _ = check(borrower, run_build)
    assert found.fits == []
