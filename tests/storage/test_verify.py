"""Whatever is not as it was written is found."""

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pytest

from storage.artifacts import ArtifactRef, put_artifact
from storage.receipts import Receipt, write_output
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.verify import verify_files
from storage.versions import Version

Damage = Callable[[Store, str], None]


def corpus(store: Store, work_units: int = 1) -> Version:
    word = {"utterance_id": "d/1", "dataset": "d", "words": [1, 2], "num_runs": 4, "num_frames": 9}
    table = pa.Table.from_pylist([word], SCHEMAS["unit_language"])
    receipts: list[Receipt] = [
        write_output(
            store,
            "encode",
            f"f{number}",
            [("unit_language", table)],
            rows_in=1,
            rows_out=1,
            rejects={},
            stats={},
        )
        for number in range(work_units)
    ]
    quantizer = put_artifact(store, "quantizer", "q", {"card.json": b"{}", "centroids.safetensors": b"123"})
    return Version(
        number=1,
        parent=None,
        steps={"encode": receipts},
        artifacts={"quantizer": quantizer},
        config={},
        lineage={},
        statistics={},
    )


def cut(store: Store, path: str) -> None:
    store.put(path, b"PAR1")


def flip(store: Store, path: str) -> None:
    data = bytearray(store.get(path))
    data[len(data) // 2] ^= 1
    store.put(path, bytes(data))


def test_sound_corpus_has_no_problems(store: Store) -> None:
    assert list(verify_files(store, corpus(store, work_units=20))) == []


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (Store.delete, "does not exist"),
        (cut, "4 bytes, "),
        (flip, "contents changed"),
    ],
    ids=["deleted", "cut", "flipped"],
)
def test_damaged_file_is_named(store: Store, damage: Damage, problem: str) -> None:
    version = corpus(store, work_units=3)
    path = version.files("unit_language")[1].path
    damage(store, path)
    (found,) = verify_files(store, version)
    assert path in found
    assert problem in found


def test_wrong_row_count_and_file_named_twice(store: Store) -> None:
    version = corpus(store)
    (receipt,) = version.steps["encode"]
    lying = replace(receipt, files=(replace(receipt.files[0], rows=7),))
    twice = replace(version, steps={"encode": [lying], "again": [receipt]})
    found = list(verify_files(store, twice))
    assert len(found) == 2
    assert "named 2 times" in found[0]
    assert "1 rows, 7 in its receipt" in found[1]


def test_damaged_or_absent_artifact_is_named(store: Store) -> None:
    version = corpus(store)
    flip(store, "artifacts/quantizer/q/centroids.safetensors")
    absent = ArtifactRef("unit_language", "u", "artifacts/unit_language/u")
    found = list(verify_files(store, replace(version, artifacts={**version.artifacts, "unit_language": absent})))
    assert len(found) == 2
    assert "centroids.safetensors is not what was written" in found[0]
    assert "artifacts/unit_language/u/checksums.json does not exist" in found[1]
