"""A copy is the same corpus: whole, resumable, refused where it would mix two."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pytest

from storage.approvals import approve, status
from storage.artifacts import put_artifact
from storage.copying.copy import copy_versions
from storage.copying.plan import asked_for, open_target, plan_copy
from storage.errors import CorruptStore, NotFound, StorageError
from storage.models import ModelCard, find_model, model_names, register
from storage.receipts import Receipt, write_output
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.verify import THREADS, verify_files
from storage.versions import Version, commit, load, version_numbers

CARD = ModelCard(
    name="s2t-1",
    stage="s2t",
    architecture="tiny",
    corpus="/somewhere/corpus@2",
    settings=(),
    source_models={},
    code="1",
    folder="/runs/s2t-1",
    checkpoint="/runs/s2t-1/4",
    steps=4,
    metrics={},
    finished="2030-01-01T00:00:00+00:00",
)


def work_unit(store: Store, name: str) -> Receipt:
    word = {"utterance_id": f"d/{name}", "dataset": "d", "words": [1, 2], "num_runs": 4, "num_frames": 9}
    table = pa.Table.from_pylist([word], SCHEMAS["unit_language"])
    store.put(f"data/items/{name}.jsonl", name.encode())
    return write_output(store, "ingest", name, [("unit_language", table)], rows_in=1, rows_out=1, rejects={}, stats={})


def add_version(store: Store, receipts: list[Receipt], note: str = "") -> Version:
    """Commit the next version; version 2 needs a look."""
    number = len(version_numbers(store)) + 1
    quantizer = put_artifact(store, "quantizer", "q", {"card.json": b"{}", "centroids.safetensors": b"123"})
    version = Version(
        number=number,
        parent=number - 1 or None,
        steps={"ingest": receipts},
        artifacts={"quantizer": quantizer},
        config={"note": note},
        lineage={},
        statistics={},
        review=["hours went from 10 to 1"] if number == 2 else [],
        created="2030-01-01T00:00:00+00:00",
    )
    return commit(store, version)


@pytest.fixture
def source(tmp_path: Path) -> Store:
    """Three versions: the second one more work unit than the first, the third other ones."""
    store = Store.open(tmp_path / "source", create=True)
    first = [work_unit(store, f"a{number}") for number in range(10)]
    add_version(store, first)
    second = add_version(store, [*first, work_unit(store, "b")])
    add_version(store, [work_unit(store, f"c{number}") for number in range(3)])
    approve(store, second)
    register(store, CARD)
    store.put("reports/00000001.html", b"<p>one</p>")
    return store


def contents(store: Store) -> dict[str, bytes]:
    """All files; the only step here is `ingest`, whose receipts later builds read."""
    return {path: store.get(path) for path in store.list()}


def copied(source: Store, target: Store, *numbers: int) -> list[str]:
    """Copy versions; return the paths of the tables that were copied."""
    plan = plan_copy(source, numbers or version_numbers(source), target)
    done = [file.path for file in copy_versions(plan)]
    assert len(done) == plan.files
    return done


def test_a_copy_has_all_that_belongs_to_the_versions_and_is_there_in_both_directions(
    source: Store, store: Store, tmp_path: Path
) -> None:
    plan = plan_copy(source, [1, 2, 3], store)
    assert (plan.files, plan.files_there) == (14, 0)
    assert plan.bytes == sum(file.bytes for file in copy_versions(plan))
    assert contents(store) == contents(source)
    assert status(store, load(store, 2)) == "approved"
    back = open_target(str(tmp_path / "back"), store)
    assert len(copied(store, back)) == 14
    assert contents(back) == contents(source)
    for number in (1, 2, 3):
        assert list(verify_files(back, load(back, number))) == []


def test_a_second_copy_brings_what_is_new(source: Store, store: Store) -> None:
    assert len(copied(source, store, 1)) == 10
    assert version_numbers(store) == [1]
    assert model_names(store) == []
    assert copied(source, store, 1) == []
    plan = plan_copy(source, [1, 2], store)
    assert (plan.files, plan.files_there) == (1, 10)
    assert len(copied(source, store, 1, 2)) == 1
    assert find_model(store, "s2t-1") == CARD
    register(source, replace(CARD, steps=8, finished="2031-01-01T00:00:00+00:00"))
    assert copied(source, store, 1, 2) == []
    assert find_model(store, "s2t-1").steps == 8
    register(source, CARD)
    copied(source, store, 1, 2)
    assert find_model(store, "s2t-1").steps == 8


def test_a_version_alone_is_a_store_to_build_on(source: Store, store: Store) -> None:
    copied(source, store, 3)
    assert version_numbers(store) == [3]
    assert list(verify_files(store, load(store, 3))) == []
    assert commit(store, replace(load(source, 3), number=4, parent=3)).number == 4
    with pytest.raises(StorageError, match="has no version 1; it has 3 to 4"):
        load(store, 1)
    copied(source, store, 1)
    with pytest.raises(StorageError, match="has no version 2; it has 1, 3 to 4"):
        load(store, 2)


def test_what_is_missing_or_torn_in_the_copy_comes_again(source: Store, store: Store) -> None:
    copied(source, store)
    lost, torn = [file.path for file in load(source, 1).files("unit_language")[:2]]
    store.delete(lost)
    store.put(torn, b"PAR1")
    assert sorted(copied(source, store)) == sorted([lost, torn])
    assert contents(store) == contents(source)


def test_a_version_appears_after_all_its_files_and_its_approval_later(source: Store, store: Store) -> None:
    """Each version that is there when a copy is killed is whole; none is approved that is not there."""
    for kill_at in range(0, len(contents(source)), 7 if store.uri.startswith("s3://") else 1):
        target = Store.open(f"{store.uri}/{kill_at}", create=True)
        with pytest.MonkeyPatch.context() as patch:
            stop_after(kill_at, patch)
            with pytest.raises(KeyboardInterrupt):
                copied(source, target)
        for number in version_numbers(target):
            assert list(verify_files(target, load(target, number))) == []
        there = {*target.list()}
        for path in there:
            if path.startswith(("approvals/", "reports/")):
                assert f"manifests/{Path(path).stem}.json" in there
        assert "runs/s2t-1/run.json" not in there or "manifests/00000002.json" in there
        copied(source, target)
        assert contents(target) == contents(source)


def stop_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many writes succeed; each later one ends the copy."""
    left = iter(range(writes))

    def limited(method: Callable[..., None]) -> Callable[..., None]:
        def write(store: Store, path: str, data: bytes) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            method(store, path, data)

        return write

    monkeypatch.setattr(Store, "put", limited(Store.put))
    monkeypatch.setattr(Store, "create", limited(Store.create))


def test_a_file_that_is_not_what_was_written_is_not_copied(source: Store, store: Store) -> None:
    path = load(source, 2).files("unit_language")[-1].path
    data = bytearray(source.get(path))
    data[len(data) // 2] ^= 1
    source.put(path, bytes(data))
    with pytest.raises(CorruptStore, match=f"{path}: not what was written .*echox repair"):
        copied(source, store)
    assert version_numbers(store) == [1]
    assert not store.exists(path)
    source.delete(path)
    with pytest.raises(NotFound, match=f"{path} does not exist; .*echox repair"):
        copied(source, store)
    source.put("artifacts/quantizer/q/centroids.safetensors", b"124")
    with pytest.raises(CorruptStore, match="centroids"):
        copied(source, Store.open(f"{store.uri}/2", create=True))


def test_a_store_with_another_corpus_is_refused_before_anything_is_written(source: Store, store: Store) -> None:
    add_version(store, [work_unit(store, "x")], note="mine")
    before = contents(store)
    for numbers in ([1, 2, 3], [2], [3]):
        with pytest.raises(StorageError, match=r"has another version 1 than .*: copy into another store$") as error:
            plan_copy(source, numbers, store)
        assert "\n" not in str(error.value)
    assert contents(store) == before


def test_a_build_that_commits_to_the_target_meanwhile_is_not_overwritten(source: Store, store: Store) -> None:
    plan = plan_copy(source, [1, 2], store)
    add_version(store, [work_unit(store, "x")], note="mine")
    mine = store.get("manifests/00000001.json")
    with pytest.raises(StorageError, match="has another version 1 than"):
        list(copy_versions(plan))
    assert store.get("manifests/00000001.json") == mine
    assert version_numbers(store) == [1]


def test_a_target_that_was_built_further_keeps_its_versions(source: Store, store: Store) -> None:
    copied(source, store, 1)
    mine = add_version(store, [*load(store, 1).steps["ingest"], work_unit(store, "x")], note="mine")
    assert copied(source, store, 1) == []
    assert load(store, 2) == mine
    with pytest.raises(StorageError, match="has another version 2 than"):
        copied(source, store, 1, 2)


def test_few_files_are_in_memory_at_a_time(source: Store, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    held, most = 0, 0
    get, put = Store.get, Store.put

    def counted_get(self: Store, path: str) -> bytes:
        nonlocal held, most
        held += path.startswith("data/unit_language")
        most = max(most, held)
        return get(self, path)

    def counted_put(self: Store, path: str, data: bytes) -> None:
        nonlocal held
        put(self, path, data)
        held -= path.startswith("data/unit_language")

    monkeypatch.setattr(Store, "get", counted_get)
    monkeypatch.setattr(Store, "put", counted_put)
    first = next(files := copy_versions(plan_copy(source, [1, 2, 3], store)))
    assert first.table == "unit_language"
    assert len(list(files)) == 13
    assert most <= THREADS


def test_what_cannot_be_copied_is_said_in_a_sentence(source: Store, tmp_path: Path) -> None:
    other = Store.open(shutil.copytree(tmp_path / "source", tmp_path / "other"))
    assert asked_for([f"{source.uri}@3", f"{source.uri}/@1"])[1] == [1, 3]
    assert asked_for([f"{source.uri}@3", source.uri])[1] == [1, 2, 3]
    for wrong in said(source, other, tmp_path):
        assert "\n" not in wrong


def said(source: Store, other: Store, tmp_path: Path) -> Iterator[str]:
    def refused(call: Callable[[], object], match: str) -> str:
        with pytest.raises(StorageError, match=match) as error:
            call()
        return str(error.value)

    yield refused(lambda: asked_for([source.uri, other.uri]), "are several stores")
    yield refused(lambda: asked_for([f"{source.uri}@7"]), "has no version 7; it has 1 to 3")
    yield refused(lambda: asked_for([str(tmp_path / "absent")]), "no store at")
    yield refused(lambda: asked_for([str(tmp_path)]), "no corpus version yet")
    yield refused(lambda: open_target(f"{source.uri}/", source), "is the store to copy from")
    yield refused(lambda: open_target(f"{tmp_path}/new@2", source), f"name the store alone: {tmp_path}/new$")
    (tmp_path / "file").touch()
    yield refused(lambda: open_target(f"{tmp_path}/file", source), "is a file, not a store")


def test_the_recorded_checksum_is_that_of_the_copy(source: Store, store: Store) -> None:
    copied(source, store)
    for file in load(store, 3).files("unit_language"):
        assert sha256(store.get(file.path)).hexdigest() == file.sha256
