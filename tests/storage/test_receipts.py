"""Done is what has a whole receipt and all its files."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from storage.errors import StorageError
from storage.receipts import Receipt, list_receipts, read_receipt, receipt_path, write_output
from storage.schemas import SCHEMAS
from storage.store import Store, reopen
from storage.tables import read_table
from storage.uris import Bucket


def write(store: Store, fingerprint: str = "f1", step: str = "encode") -> Receipt:
    word = {"utterance_id": "d/1", "dataset": "d", "words": [1, 2], "num_runs": 4, "num_frames": 9}
    reject = {"dataset": "d", "source": "s", "step": step, "reason": "corrupt", "message": "m"}
    return write_output(
        store,
        step,
        fingerprint,
        [
            ("unit_language", pa.Table.from_pylist([word], SCHEMAS["unit_language"])),
            ("t2c", SCHEMAS["t2c"].empty_table()),
            ("unit_language", pa.Table.from_pylist([word] * 2, SCHEMAS["unit_language"])),
            ("rejects", pa.Table.from_pylist([reject], SCHEMAS["rejects"])),
        ],
        rows_in=4,
        rows_out=3,
        rejects={"corrupt": 1},
        stats={"seconds": [1.5]},
    )


def test_receipt_tells_what_was_written(store: Store) -> None:
    receipt = write(store)
    folders = ("data/unit_language", "training/t2c", "data/unit_language", "data/rejects")
    for folder, file in zip(folders, receipt.files, strict=True):
        data = store.get(file.path)
        end = data[-8 - int.from_bytes(data[-8:-4], "little") :]
        assert file.path == f"{folder}/f1-{file.sha256[:8]}-{sha256(end).hexdigest()[:8]}.parquet"
    assert [(file.table, file.rows) for file in receipt.files] == [
        ("unit_language", 1),
        ("t2c", 0),
        ("unit_language", 2),
        ("rejects", 1),
    ]
    assert [read_table(store, file.path).num_rows for file in receipt.files] == [1, 0, 2, 1]
    assert read_receipt(store, "encode", "f1") == receipt
    assert Receipt.from_dict(json.loads(json.dumps(receipt.to_dict()))) == receipt
    assert list_receipts(store, "encode") == {"f1"}
    assert list_receipts(store, "quantize") == set()


def test_writing_again_changes_no_byte(store: Store) -> None:
    write(store)
    before = {path: store.get(path) for path in store.list()}
    write(store)
    assert {path: store.get(path) for path in store.list()} == before


def test_other_bytes_do_not_replace_a_file_that_is_referred_to(store: Store) -> None:
    first = write(store)
    row = {"utterance_id": "d/1", "dataset": "d", "words": [9], "num_runs": 1, "num_frames": 9}
    table = pa.Table.from_pylist([row], SCHEMAS["unit_language"])
    write_output(store, "encode", "f1", [("unit_language", table)], rows_in=1, rows_out=1, rejects={}, stats={})
    assert [read_table(store, file.path).num_rows for file in first.files] == [file.rows for file in first.files]
    assert all(sha256(store.get(file.path)).hexdigest() == file.sha256 for file in first.files)


def tear(data: bytes) -> list[bytes]:
    """Receipts that are none."""
    values: dict[str, Any] = json.loads(data)
    wrong: list[Any] = [values | {"format": 2}, values | {"step": "other"}, values | {"fingerprint": "f2"}]
    wrong += [values | {"files": None}, {}, [], 1, None]
    return [b"", data[: len(data) // 2], b"\xff\xfe", *(json.dumps(value).encode() for value in wrong)]


def test_torn_or_foreign_receipt_is_none(store: Store) -> None:
    write(store)
    path = receipt_path("encode", "f1")
    for data in tear(store.get(path)):
        store.put(path, data)
        assert read_receipt(store, "encode", "f1") is None
    assert read_receipt(store, "encode", "absent") is None


@pytest.mark.parametrize("damage", ["removed", "shorter"])
def test_receipt_without_its_files_is_none(store: Store, damage: str) -> None:
    path = write(store).files[-1].path
    store.delete(path)
    if damage == "shorter":
        store.put(path, b"PAR1")
    assert read_receipt(store, "encode", "f1") is None


def test_unreadable_store_is_not_taken_for_unfinished_work(s3_bucket: str) -> None:
    with pytest.raises(StorageError, match="bucket does not exist"):
        read_receipt(reopen(Bucket("removed-bucket", "x")), "encode", "f1")


def test_wrong_table_leaves_no_receipt(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(StorageError, match="columns"):
        write_output(store, "s", "f", [("units", pa.table({"a": [1]}))], rows_in=0, rows_out=0, rejects={}, stats={})
    assert list(store.list()) == []
