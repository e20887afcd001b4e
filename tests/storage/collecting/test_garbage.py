"""Files that `gc` removes from a store, their order, and the state after an interruption."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from storage.artifacts import put_artifact
from storage.collecting.garbage import Garbage, find_garbage, remove
from storage.errors import CorruptStore, NotFound, StorageError
from storage.models import ModelCard, card_path, register
from storage.receipts import Receipt, read_receipt
from storage.store import Store
from storage.verify import verify_files
from storage.versions import contents_of, load, version_numbers
from tests.storage.copying.test_copy import add_version, work_unit

Find = Callable[..., Garbage]


def find(store: Store, *expire: int, hours: float = -1) -> Garbage:
    """Find what is garbage, of files older than some hours; by default of all."""
    return find_garbage(store, expire, before=datetime.now(UTC) - timedelta(hours=hours), grace_seconds=0)


def paths(garbage: Garbage) -> list[str]:
    return [file.path for phase in garbage.phases for file in phase]


@pytest.fixture
def three(store: Store) -> Store:
    """Three versions: the second has one more work unit than the first, the third others; and what nobody refers to."""
    first = [work_unit(store, f"a{number}") for number in range(3)]
    for receipt in first:
        store.put(f"data/listings/{receipt.fingerprint}.json", b"{}")
    add_version(store, first)
    add_version(store, [*first, work_unit(store, "b")])
    add_version(store, [work_unit(store, f"c{number}") for number in range(2)])
    for number in (1, 2, 3):
        store.put(f"reports/{number:08d}.html", b"<p>")
        store.put(f"approvals/{number:08d}.json", b"{}")
    put_artifact(store, "quantizer", "other", {"card.json": b"{}", "centroids.safetensors": b"1"})
    work_unit(store, "abandoned")
    store.put("builds/00000002/0123.json", b"{}")
    return store


OWN = (
    "notes.txt", "data/notes.txt", "data/units/notes.txt", "data/units/own/x.parquet", "own/data/units/x.parquet",
    "manifests/notes.json", "reports/plots.html", "artifacts/quantizer/notes", "data/receipts/notes.json",
    "runs/s2t-1/run.json", "runs/s2t-1/own.txt", "failures/notes.txt", "failures/begun/own/x.json",
)  # fmt: skip


def test_only_files_of_the_store_are_removed(three: Store) -> None:
    for path in OWN:
        three.put(path, b"mine")
    remove(find(three, 1, 2), lambda: None)
    assert {*OWN} <= {*three.list()}
    assert find(three).phases == ((),) * 8


def trained(store: Store, name: str, corpus: str, **source_models: str) -> str:
    made = {"stage": "echo", "architecture": "tiny", "settings": (), "code": "a", "folder": "/r", "steps": 1}
    card = ModelCard(name=name, corpus=corpus, source_models=source_models, checkpoint="/r/m", metrics={}, **made)
    register(store, card)
    return card_path(name)


def test_cards_go_with_their_versions_and_records_of_failures_with_age(three: Store) -> None:
    stay = {
        trained(three, "started-from", f"{three.uri}@1"),
        trained(three, "newest", f"{three.uri}@3", s2t="started-from", t2c="elsewhere"),
        trained(three, "of-no-version", three.uri),
        trained(three, "of-a-later-one", f"{three.uri}@9"),
    }
    first, of_first = trained(three, "first", f"{three.uri}@1"), trained(three, "of-first", "s3://b/c@1", s2t="first")
    failures = {"failures/encode.json", "failures/begun/encode-12.json"}
    for path in failures:
        three.put(path, b"{}")
    assert not {first, of_first, *failures, *stay} & {*paths(find(three, hours=1))}, "they are young"
    assert {*paths(find(three))} & {first, of_first, *failures, *stay} == failures, "their version is there"
    remove(find(three, 1, 2), lambda: None)
    left = {*three.list("runs"), *three.list("failures")}
    assert left == stay
    assert find(three).phases == ((),) * 8


def test_the_card_of_a_version_that_was_lost_before_goes(three: Store) -> None:
    path = trained(three, "second", f"{three.uri}@2")
    three.delete("manifests/00000002.json")
    assert path in paths(find(three))


def test_what_goes_with_a_version(three: Store) -> None:
    known = {*three.list()}
    remove(find(three), lambda: None)
    unused = {
        "artifacts/quantizer/other/card.json",
        "artifacts/quantizer/other/centroids.safetensors",
        "artifacts/quantizer/other/checksums.json",
        "builds/00000002/0123.json",
        "data/items/abandoned.jsonl",
        "data/receipts/ingest/abandoned.json",
    }
    gone = known - {*three.list()}
    assert {path for path in gone if not path.startswith("data/unit_language/")} == unused
    assert len(gone) == len(unused) + 1
    found = find(three, 2)
    assert (found.expired, found.kept) == ((2,), (1, 3))
    remove(found, lambda: None)
    assert sum(path.startswith("lists/") for path in paths(found)) == 1
    assert {path for path in paths(found) if not path.startswith(("data/unit_language/", "lists/"))} == {
        "manifests/00000002.json",
        "approvals/00000002.json",
        "reports/00000002.html",
        "data/items/b.jsonl",
        "data/receipts/ingest/b.json",
    }
    assert version_numbers(three) == [1, 3]
    for number in (1, 3):
        assert list(verify_files(three, load(three, number))) == []


def test_what_a_removal_that_was_interrupted_left_is_found_again(three: Store) -> None:
    """Report and approval of a version whose file is gone, too."""
    three.delete("manifests/00000001.json")
    found = {path for path in paths(find(three)) if "0001" in path}
    assert found == {"approvals/00000001.json", "reports/00000001.html"}
    assert {path for path in paths(find(three, hours=1)) if "0001" in path} == set()


@pytest.mark.parametrize("hours", [1, -1])
def test_young_files_stay_with_what_they_refer_to(three: Store, hours: int) -> None:
    """The version goes at once, what is referred to by nothing when it is old enough."""
    found = paths(find(three, 1, 2, hours=hours))
    said = {f"{folder}/0000000{number}.{kind}" for number in (1, 2) for folder, kind in SAYING}
    assert said <= {*found}
    assert ({*found} == said) == (hours == 1)


SAYING = (("manifests", "json"), ("approvals", "json"), ("reports", "html"))


def test_what_a_pending_build_refers_to_stays(three: Store) -> None:
    receipt = read_receipt(three, "ingest", "abandoned")
    assert receipt
    pending = [contents_of({"ingest": [receipt]}, ())]
    found = find_garbage(three, (), before=datetime.now(UTC) + timedelta(hours=1), grace_seconds=0, pending=pending)
    assert not [path for path in paths(found) if path.startswith("data/")]


def interrupted(store: Store, expire: tuple[int, ...], after: int) -> bool:
    """Remove until some checks have passed; return whether it came to the end."""
    left = after

    def check() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        remove(find(store, *expire), check)
        return True
    return False


@pytest.mark.parametrize("after", range(0, 36, 5))
def test_an_interrupted_removal_leaves_whole_things_and_the_next_one_ends_it(three: Store, after: int) -> None:
    """Each version, work unit and artifact that can be seen is whole after any number of removals."""
    whole = {number: load(three, number) for number in (1, 2, 3)}
    total = len(paths(find(three, 1, 2)))
    ended = interrupted(three, (1, 2), after)
    for number in version_numbers(three):
        assert list(verify_files(three, load(three, number))) == []
    for receipt in three.list("data/receipts/ingest"):
        found = read_receipt(three, "ingest", receipt.rpartition("/")[2].removesuffix(".json"))
        assert isinstance(found, Receipt)
        assert three.exists(f"data/items/{found.fingerprint}.jsonl")
    if three.exists("artifacts/quantizer/other/card.json"):
        assert three.exists("artifacts/quantizer/other/centroids.safetensors")
    remove(find(three, *{1, 2} & {*version_numbers(three)}), lambda: None)
    assert version_numbers(three) == [3]
    left = {"data/README.txt", "manifests/00000003.json", "approvals/00000003.json", "reports/00000003.html"}
    left |= {*whole[3].contents.paths()} - {*whole[3].contents.signatures}
    left |= {f"artifacts/quantizer/q/{name}" for name in ("card.json", "centroids.safetensors", "checksums.json")}
    assert {*three.list()} == left
    assert ended == (after >= total)
    assert 25 < total < 35


def test_a_version_that_cannot_be_read_stops_all(three: Store) -> None:
    """It may refer to anything."""
    before = {*three.list()}
    three.put("manifests/00000002.json", three.get("manifests/00000002.json").replace(b'"parent": 1', b'"parent": 0'))
    for expire in ((), (1,)):
        with pytest.raises(CorruptStore, match=r"manifests/00000002\.json: not the file that was written"):
            find(three, *expire)
    assert {*three.list()} == before
    assert "manifests/00000002.json" in paths(find(three, 2)), "it can be removed itself"


def test_a_list_that_is_missing_stops_all(three: Store) -> None:
    """Whatever it named would go."""
    for name in load(three, 2).lists:
        three.delete(f"lists/{name}.jsonl")
    with pytest.raises(CorruptStore, match=r"lists/\w+\.jsonl"):
        find(three)


def test_a_store_without_versions_is_refused(store: Store) -> None:
    """Nothing would be left of a store whose folder of versions is missing."""
    work_unit(store, "a")
    with pytest.raises(StorageError, match="has no corpus version yet, so all in it would go"):
        find(store)


def test_a_damaged_young_receipt_refers_to_nothing(three: Store) -> None:
    three.put("data/receipts/ingest/abandoned.json", b"{")
    assert paths(find(three, hours=1)) == []


def test_a_reader_of_a_removed_version_is_told(three: Store) -> None:
    remove(find(three, 1), lambda: None)
    with pytest.raises(StorageError, match="has no version 1; it has 2 to 3"):
        load(three, 1)
    assert not isinstance(load(three, 2), NotFound)
