"""Labels are kept beside their version: they live, are copied and go with it, and change nothing of it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from storage.collecting.garbage import find_garbage, remove
from storage.copying.copy import copy_versions
from storage.copying.plan import open_target, plan_copy
from storage.errors import CorruptStore
from storage.labels.kept import Labels, find_labels, label_names, labels_of, labels_path, put_labels
from storage.receipts import Receipt, receipt_path, write_output
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.versions import load, version_file
from tests.storage.copying.test_copy import add_version, work_unit


def labelled(store: Store, name: str) -> Receipt:
    row = {"example_id": name, "answer": [5, 6, 2], "segments": [1, 1], "words": [[3], [4, 4]]}
    table = pa.Table.from_pylist([row], SCHEMAS["echo_labels"])
    return write_output(store, "label", name, [("echo_labels", table)], rows_in=1, rows_out=1, rejects={}, stats={})


def label(store: Store, version: int, name: str, *receipts: Receipt) -> Labels:
    made = Labels(
        name=name,
        version=version,
        models={"s2t": "a", "t2c": "b"},
        folders={"s2t": "/runs/s2t", "t2c": "/runs/t2c"},
        settings={"max_words": 9},
        examples=tuple(f"training/echo/{receipt.fingerprint}.parquet" for receipt in receipts),
        receipts=receipts,
    )
    put_labels(store, made)
    return made


@pytest.fixture
def two(store: Store) -> Store:
    """Two versions; both have a label file of their own, and share one. One more was begun and given up."""
    add_version(store, [work_unit(store, "a")])
    add_version(store, [work_unit(store, "a"), work_unit(store, "b")])
    shared = labelled(store, "shared")
    label(store, 1, "one", shared, labelled(store, "first"))
    label(store, 2, "one", shared, labelled(store, "second"))
    labelled(store, "abandoned")
    return store


def collect(store: Store, *expire: int) -> None:
    remove(find_garbage(store, expire, before=datetime.now(UTC) + timedelta(hours=1), grace_seconds=0), lambda: None)


def files_of(store: Store) -> set[str]:
    return {path.rpartition("/")[2].partition("-")[0] for path in store.list("training/echo_labels")}


def test_labels_are_read_as_they_were_written(two: Store) -> None:
    (found,) = labels_of(two, 2)
    assert find_labels(two, 2, "one") == found
    assert [file.rows for file in found.files.values()] == [1, 1]
    assert [*found.files] == ["training/echo/shared.parquet", "training/echo/second.parquet"]
    assert found.facts["examples"] == 2
    assert find_labels(two, 2, "other") is None
    assert label_names(two, 3) == []


def test_labels_change_nothing_of_their_version(store: Store) -> None:
    add_version(store, [work_unit(store, "a")])
    before = version_file(store, 1), load(store, 1).contents
    label(store, 1, "one", labelled(store, "x"))
    assert (version_file(store, 1), load(store, 1).contents) == before


def test_labels_stay_while_their_version_lives_and_go_with_it(two: Store) -> None:
    collect(two)
    assert files_of(two) == {"shared", "first", "second"}
    assert not two.exists(receipt_path("label", "abandoned"))
    collect(two, 1)
    assert files_of(two) == {"shared", "second"}
    assert label_names(two, 1) == []
    assert label_names(two, 2) == ["one"]
    assert not two.exists(receipt_path("label", "first"))


def test_a_copy_takes_labels_along_once(two: Store, tmp_path: Path) -> None:
    other = open_target(str(tmp_path / "other"), two)
    plan = plan_copy(two, [2], other)
    assert len(list(copy_versions(plan))) == plan.files == 4
    assert [*labels_of(other, 2)] == [*labels_of(two, 2)]
    assert label_names(other, 1) == []
    assert files_of(other) == {"shared", "second"}
    assert plan_copy(two, [2], other).files == 0
    label(two, 2, "more", labelled(two, "late"))
    assert [file.table for file in copy_versions(plan_copy(two, [2], other))] == ["echo_labels"]
    assert label_names(other, 2) == ["more", "one"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b"shared", b"shored"),
        lambda data: data[:-20],
        lambda data: b"",
        lambda data: data.replace(b'"version": 2', b'"version": 3'),
        lambda data: data.replace(b'"models"', b'"model"'),
        lambda data: b"[]",
    ],
)
def test_a_damaged_record_is_named(two: Store, damage: Callable[[bytes], bytes]) -> None:
    path = labels_path(2, "one")
    two.put(path, damage(two.get(path)))
    with pytest.raises(CorruptStore, match=path):
        find_labels(two, 2, "one")
