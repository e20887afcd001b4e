"""`echox gc` removes what nothing refers to and nothing else, and meets builds without harm to either."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.build.build import run_until
from pipelines.build.collect import collect, to_expire
from pipelines.build.commit import Built
from pipelines.build.handover import STEP_NAMES, advance, begin, built
from pipelines.build.verify import verify
from pipelines.config.build import check_config
from pipelines.engine.session import Session
from pipelines.steps import computations
from storage.approvals import approve
from storage.collecting.garbage import Garbage
from storage.collecting.marks import FOLDER, at_work
from storage.copying.copy import copy_versions
from storage.copying.plan import open_target, plan_copy
from storage.errors import StorageError
from storage.receipts import list_receipts
from storage.store import Store
from storage.versions import load, version_numbers

pytestmark = pytest.mark.slow

Config = dict[str, Any]
RunBuild = Callable[..., Built]


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.getfixturevalue("s3_bucket") if request.param == "s3" else str(tmp_path / "store")


@pytest.fixture
def growing(config: Config, place: str, speech: Path, tmp_path: Path) -> Config:
    """The config of a corpus whose source may change."""
    folder = Path(shutil.copytree(speech, tmp_path / "growing"))
    source = {"kind": "folder", "path": str(folder), "dataset": "clips", "gone": "keep"}
    return {**config, "store": place, "sources": [source]}


def folder_of(config: Config) -> Path:
    return Path(config["sources"][0]["path"])


def contents(store: Store) -> dict[str, bytes]:
    return {path: store.get(path) for path in store.list()}


def paths(found: Garbage) -> set[str]:
    return {file.path for phase in found.phases for file in phase}


def counts(found: Garbage) -> dict[str, int]:
    kinds = [kind for kind, _ in found.sizes()]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def referenced(store: Store) -> set[str]:
    """Paths of all that the versions refer to, found without the code of `gc`."""
    found = {f"manifests/{number:08d}.json" for number in version_numbers(store)} | {"data/README.txt"}
    for number in version_numbers(store):
        version = load(store, number)
        for step, receipts in version.steps.items():
            for receipt in receipts:
                found |= {file.path for file in receipt.files}
                found.add(f"data/receipts/{step}/{receipt.fingerprint}.json")
                if step == "ingest":
                    found.add(f"data/items/{receipt.fingerprint}.jsonl")
                    found.add(f"data/listings/{receipt.fingerprint}.json")
        found |= {path for ref in version.artifacts.values() for path in store.list(ref.path)}
        found |= {f"lists/{name}.jsonl" for name in version.lists}
    return found


def refuse(*_: object) -> Any:
    raise AssertionError("a step was opened although there is nothing to do")


def other_words(config: Config) -> Config:
    return {**config, "unit_language": {"vocab_size": 50}}


def test_what_is_left_is_what_the_kept_versions_refer_to(
    growing: Config, run_build: RunBuild, make_speech: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version, one with other words and a new clip, and an abandoned build with a third vocabulary."""
    run_build(growing)
    make_speech(folder_of(growing), 1, start=40)
    run_build(other_words(growing))
    store = Store.open(growing["store"])
    before = contents(store)
    run_until(check_config({**growing, "unit_language": {"vocab_size": 55}}, "t", Path.cwd()), quiet(), "encode")
    abandoned = contents(store).keys() - before.keys()
    kinds = {"artifacts/unit_language", "data/receipts", "data/unit_language", FOLDER}
    assert {"/".join(path.split("/")[:-1][:2]) for path in abandoned} == kinds

    first = collect(store, grace_seconds=0)
    assert set(counts(first)) == kinds | {"data/sample_features"}
    assert paths(first) == {*before, *abandoned} - referenced(store)
    assert contents(store).keys() == referenced(store)
    assert list(verify(store, load(store, 1))) == list(verify(store, load(store, 2))) == []

    second = collect(store, [1], grace_seconds=0)
    assert (second.expired, second.kept) == ((1,), (2,))
    assert version_numbers(store) == [2]
    left = contents(store)
    assert left.keys() == referenced(store)
    assert left.items() <= before.items()
    assert list(verify(store, load(store, 2))) == []

    for step in computations().values():
        monkeypatch.setattr(step, "open", refuse)
    assert not run_build(other_words(growing)).new
    assert contents(store) == left
    assert counts(collect(store, grace_seconds=0)) == {}


def quiet() -> Console:
    return Console(quiet=True)


def test_a_corpus_grows_after_gc_as_without_it(
    growing: Config, run_build: RunBuild, make_speech: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text is mended beside an entry whose file is gone: its row is taken over, by the receipt."""
    run_build(growing)
    collect(Store.open(growing["store"]), grace_seconds=0)
    gone, *others = sorted(folder_of(growing).glob("*.wav"))
    gone.unlink()
    others[0].with_suffix(".txt").write_text("mended")
    monkeypatch.setattr("pipelines.sources.audio_files.stream_segments", refuse)
    made = run_build(growing)
    assert (made.changes.mended, made.changes.gone, made.changes.new) == (1, 1, 0)
    assert list(verify(Store.open(growing["store"]), made.version)) == []


def test_a_copy_grows_as_its_original(
    growing: Config, run_build: RunBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy brings what `gc` keeps because later builds read it; here the receipts of `ingest`."""
    run_build(growing)
    copy = open_target(str(tmp_path / "copy"), Store.open(growing["store"]))
    for _ in copy_versions(plan_copy(Store.open(growing["store"]), [1], copy)):
        pass
    gone, *others = sorted(folder_of(growing).glob("*.wav"))
    gone.unlink()
    others[0].with_suffix(".txt").write_text("mended")
    monkeypatch.setattr("pipelines.sources.audio_files.stream_segments", refuse)
    made = run_build({**growing, "store": copy.uri})
    assert (made.changes.mended, made.changes.gone, made.changes.new) == (1, 1, 0)
    assert made.version.statistics["entries"] == 12
    assert list(verify(copy, made.version)) == []


def test_nothing_is_removed_by_a_dry_run(growing: Config, run_build: RunBuild) -> None:
    run_build(growing)
    run_build(other_words(growing))
    store = Store.open(growing["store"])
    before = contents(store)
    planned = collect(store, [1], grace_seconds=0, dry_run=True)
    assert contents(store) == before
    done = collect(store, [1], grace_seconds=0)
    assert (planned.phases, planned.expired) == (done.phases, done.expired)
    assert before.keys() - contents(store).keys() == paths(done)


def test_young_files_and_what_they_refer_to_stay(growing: Config, run_build: RunBuild) -> None:
    """A version is removed at once; its files stay until they are old enough, and are found again then."""
    run_build(growing)
    run_build(other_words(growing))
    store = Store.open(growing["store"])
    before = contents(store)
    found = collect(store, [1])
    assert before.keys() - contents(store).keys() == {"manifests/00000001.json"} == {f.path for f in found.phases[0]}
    assert counts(collect(store)) == {}
    assert "data/unit_language" in counts(collect(store, grace_seconds=0))


@pytest.mark.parametrize("place", ["local"], indirect=True)
def test_a_receipt_that_stays_keeps_its_files_and_entries(growing: Config, run_build: RunBuild) -> None:
    """Without the signatures of its entries, the receipt would be taken for one of files that were replaced since."""
    run_build(growing)
    abandoned = check_config({**growing, "work_units": {"minutes": 0.2, "items": 3}}, "t", Path.cwd())
    run_until(abandoned, quiet(), "ingest")
    store, root = Store.open(growing["store"]), Path(growing["store"])
    for path in store.list(FOLDER):
        store.delete(path)
    grow_old(root)
    names = sorted(list_receipts(store, "ingest") - {r.fingerprint for r in load(store, 1).steps["ingest"]})
    young = root / f"data/receipts/ingest/{names[0]}.json"
    os.utime(young)
    collect(store)
    left = set(store.list())
    assert {f"data/items/{names[0]}.jsonl", f"data/listings/{names[0]}.json"} <= left
    assert not {f"data/items/{names[1]}.jsonl", f"data/receipts/ingest/{names[1]}.json"} & left
    assert list_receipts(store, "ingest") - {r.fingerprint for r in load(store, 1).steps["ingest"]} == {names[0]}
    assert not run_build(growing).new


def grow_old(root: Path, days: float = 2) -> None:
    """Let all files of a store be some days old."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - days * 24 * 3600,) * 2)


@pytest.mark.parametrize("place", ["local"], indirect=True)
def test_old_work_of_a_build_that_was_just_stopped_stays(growing: Config, run_build: RunBuild) -> None:
    """A build that ran for days is not undone because somebody stopped it an hour ago."""
    run_build(growing)
    abandoned = check_config(other_words(growing), "t", Path.cwd())
    store, root = Store.open(growing["store"]), Path(growing["store"])
    before = set(store.list())
    run_until(abandoned, quiet(), "encode")
    work = set(store.list()) - before
    (mark,) = store.list(FOLDER)
    began = time.time() - 1.5 * 24 * 3600
    for path in work - {mark}:
        os.utime(root / path, (began + 60,) * 2)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(began))
    text = (root / mark).read_text()
    (root / mark).write_text(text.replace(text.split('"began": "')[1].split('"')[0], stamp))
    assert counts(collect(store)) == {}
    grow_old(root)
    assert paths(collect(store)) == work | before - referenced(store)


def test_what_a_build_between_two_steps_has_made_stays(growing: Config, run_build: RunBuild) -> None:
    """A flow run goes on from the state that its last step wrote, with receipts that may be old."""
    run_build(growing)
    config = check_config(other_words(growing), "t", Path.cwd())
    store = Store.open(growing["store"])
    handover = begin(config)
    for step in STEP_NAMES:
        collected = collect(store)
        assert counts(collected) == {}
        with Session(store, config.run, None, quiet()) as session:
            handover = advance(handover, step, session)
    assert built(handover).version.number == 2
    assert list(verify(store, built(handover).version)) == []


def test_gc_refuses_while_a_build_runs(growing: Config, run_build: RunBuild) -> None:
    run_build(growing)
    store = Store.open(growing["store"])
    with (
        at_work(store),
        pytest.raises(StorageError, match=rf"a program is at work there \(.* process {os.getpid()}, since 20"),
    ):
        collect(store, grace_seconds=0)
    collect(store, grace_seconds=0)
    assert list(store.list(FOLDER)) == []


@pytest.mark.parametrize("place", ["local"], indirect=True)
@pytest.mark.parametrize("lost", ["data/units", "data/items", "training/s2t", "artifacts/unit_language"])
def test_a_version_that_lacks_a_file_is_not_committed(
    growing: Config, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """As if a build slept so long that its mark did not count any more, and `gc` ran meanwhile."""
    root = Path(growing["store"])
    monkeypatch.setattr("pipelines.build.commit.needs_look", lambda *_: lose(root / lost))
    with pytest.raises(StorageError, match=rf"{lost}/.* was removed while this build was running \(1 such files\)"):
        run_build(growing)
    monkeypatch.undo()
    assert version_numbers(Store.open(root)) == []
    made = run_build(growing)
    assert list(verify(Store.open(root), made.version)) == []


def lose(folder: Path) -> list[str]:
    """Remove one thing, as `gc` does; there are no points of a review."""
    path = next(iter(sorted(folder.iterdir())))
    (path / "card.json" if path.is_dir() else path).unlink()
    return []


def test_the_newest_version_stays(growing: Config, run_build: RunBuild) -> None:
    run_build(growing)
    run_build(other_words(growing))
    store = Store.open(growing["store"])
    before = contents(store)
    with pytest.raises(StorageError, match="version 2 is the newest one"):
        collect(store, [1, 2])
    with pytest.raises(StorageError, match="no version 7; it has 1 to 2"):
        collect(store, [7])
    assert contents(store) == before
    assert to_expire(store, None, None) == []
    assert to_expire(store, 1, None) == [1]
    assert to_expire(store, 2, None) == []
    assert to_expire(store, None, 0) == [1]
    assert to_expire(store, 1, 3600) == []


def test_the_version_that_builds_are_compared_with_stays(growing: Config, run_build: RunBuild) -> None:
    """The two newest versions need a look; until one is approved, gates compare builds with the first."""
    run_build(growing)
    for words in (50, 45):
        run_build({**growing, "unit_language": {"vocab_size": words}, "gates": {"compression": 0.0}})
    store = Store.open(growing["store"])
    assert [bool(load(store, number).review) for number in (1, 2, 3)] == [False, True, True]
    assert to_expire(store, 1, None) == [2]
    approve(store, load(store, 2))
    assert to_expire(store, 1, None) == [1]
