"""Files of a version that are missing or damaged are computed again, with the same bytes, or it is said why not."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.build.build import build
from pipelines.build.commit import Built
from pipelines.build.repair import repair
from pipelines.build.verify import verify
from pipelines.config.build import load_config
from storage.store import Store
from storage.versions import Version, resolve
from tests.fixtures.store import HOME, SAMPLE, only_one, unpack

pytestmark = pytest.mark.slow

Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, speech: Path, run_build: Callable[..., Built]) -> Path:
    """A corpus of two versions: the second one adds clips to both data sets; one clip is a reject."""
    folder = tmp_path_factory.mktemp("repair")
    clips = sorted(speech.glob("*.wav"))
    (folder / "speech").mkdir()
    (folder / "speech" / "empty.wav").touch()
    values: dict[str, Any] = {
        "store": str(folder / "store"),
        "sources": [{"kind": "folder", "path": str(folder / "speech"), "dataset": "clips"}],
        "quantizer": {"k": 20, "iterations": 3},
        "unit_language": {"vocab_size": 60},
        "shards": {"stages": {"t2c": ["asr"]}, "hours": 0.005},
        "work_units": {"minutes": 0.1},
        "max_reject_ratio": 1.0,
    }
    for part in (clips[:8], clips[8:]):
        for clip in part:
            for path in clip.parent.glob(f"{clip.stem}.*"):
                shutil.copy(path, folder / "speech")
        run_build(values)
    return folder / "store"


@pytest.fixture
def corpus(built: Path, tmp_path: Path) -> tuple[Store, Version]:
    """A copy to damage."""
    return resolve(shutil.copytree(built, tmp_path / "store"))


def contents(store: Store) -> dict[str, bytes]:
    """The files of data, shards and artifacts, but for receipts and the plan."""
    folders = ("data/utterances", "data/rejects", "data/units", "data/unit_language", "training", "artifacts")
    return {path: store.get(path) for folder in folders for path in store.list(folder)}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def outcome(corpus: tuple[Store, Version]) -> dict[str, str]:
    return {found.path: found.fault or found.done for found in repair(*corpus)}


def test_a_whole_version_needs_nothing(corpus: tuple[Store, Version]) -> None:
    store, version = corpus
    assert version.number == 2
    before = contents(store)
    assert outcome(corpus) == {}
    assert contents(store) == before


@pytest.mark.parametrize("damage", [Path.unlink, flip, cut])
def test_all_tables_and_artifacts_at_once_come_back_with_the_same_bytes(
    corpus: tuple[Store, Version], damage: Damage
) -> None:
    store, version = corpus
    before = contents(store)
    for path in before:
        if not path.endswith(("checksums.json", "card.json")):
            damage(Path(store.url(path)))
    found = outcome(corpus)
    assert set(found.values()) == {"computed again"}
    assert contents(store) == before
    assert list(verify(store, version)) == []


@pytest.mark.parametrize("damage", [Path.unlink, flip])
@pytest.mark.parametrize("name", ["card.json", "checksums.json", "centroids.safetensors", "unit_language.model"])
def test_each_file_of_an_artifact_comes_back(corpus: tuple[Store, Version], damage: Damage, name: str) -> None:
    store, _ = corpus
    before = contents(store)
    paths = [path for path in before if path.endswith(name)]
    assert paths
    for path in paths:
        damage(Path(store.url(path)))
    assert outcome(corpus) == dict.fromkeys(paths, "computed again")
    assert contents(store) == before


def test_what_cannot_be_computed_again_is_said_and_nothing_else_is_written(
    corpus: tuple[Store, Version], built: Path, tmp_path: Path
) -> None:
    store, version = corpus
    lost = version.files("utterances")[0].path
    store.delete(lost)
    for path in store.list("data/items"):
        store.delete(path)
    found = outcome(corpus)
    assert list(found) == [lost]
    assert "data/items/" in found[lost]
    assert "does not exist" in found[lost]


def test_other_sources_are_not_taken_for_those_of_then(corpus: tuple[Store, Version], built: Path) -> None:
    store, version = corpus
    lost = version.files("units")[0].path
    store.delete(lost)
    clip = built.parent / "speech" / "clip000.wav"
    data = clip.read_bytes()
    try:
        clip.write_bytes(data[:-2] + b"\x01\x00")
        found = outcome(corpus)
    finally:
        clip.write_bytes(data)
    assert list(found) == [lost]
    assert "clip000.wav: its contents changed since it was ingested" in found[lost]
    assert not store.exists(lost)
    assert outcome(corpus) == {lost: "computed again"}


def test_a_damaged_file_of_an_unfinished_build_is_removed(corpus: tuple[Store, Version]) -> None:
    store, version = corpus
    sampled = next(iter(store.list("data/sample_features")))
    flip(Path(store.url(sampled)))
    assert outcome(corpus) == {sampled: "removed: no version refers to it"}
    assert not store.exists(sampled)
    for path in store.list(version.artifacts["quantizer"].path):
        if path.endswith("safetensors"):
            store.delete(path)
            assert outcome(corpus) == {path: "computed again"}


def test_a_version_whose_parent_is_lost_is_repaired_but_for_its_shards(corpus: tuple[Store, Version]) -> None:
    store, version = corpus
    store.delete("manifests/00000001.json")
    units, shard = version.files("units")[0].path, version.files("s2t")[0].path
    for path in (units, shard):
        store.delete(path)
    found = outcome(corpus)
    assert found.keys() == {units, shard}
    assert found[units] == "computed again"
    told = f"work unit {version.steps['shard'][0].fingerprint} of step shard: it came with a version that `echox gc` "
    assert found[shard] == f"{told}removed (1), and only that one tells how it was made; restore it from a copy"


def test_a_version_whose_parent_is_damaged_names_no_removed_one(corpus: tuple[Store, Version]) -> None:
    store, version = corpus
    flip(Path(store.url("manifests/00000001.json")))
    shard = version.files("s2t")[0].path
    store.delete(shard)
    assert "it came with a version that cannot be read, and only" in outcome(corpus)[shard]


@pytest.fixture
def old() -> Iterator[Path]:
    """A store of an earlier revision, whose files have no checksums of pages."""
    with only_one():
        yield unpack()


def test_tables_of_an_earlier_revision_come_back_with_its_bytes(old: Path) -> None:
    for path in (SAMPLE / "read").glob("05-*"):
        (HOME / "read" / path.name).write_bytes(path.read_bytes())
    grown = build(load_config(old, ()), Console(quiet=True)).version
    store, version = resolve(HOME / "store")
    assert version.number == grown.number == 2
    before = contents(store)
    for path in before:
        if path.endswith((".parquet", ".safetensors", ".model")):
            flip(Path(store.url(path)))
    assert set(outcome((store, version)).values()) == {"computed again"}
    assert contents(store) == before
