"""Artifacts are whole or absent, and what was written."""

import pytest

from storage.artifacts import ArtifactRef, get_artifact, has_artifact, put_artifact, read_card
from storage.errors import CommitConflict, CorruptStore, NotFound, StorageError
from storage.store import Store

FILES = {"centroids.safetensors": bytes(range(256)), "card.json": b'{"k": 2}'}
FOLDER = "artifacts/quantizer/f1"


def test_artifact_comes_back(store: Store) -> None:
    assert not has_artifact(store, "quantizer", "f1")
    assert put_artifact(store, "quantizer", "f1", FILES) == ArtifactRef("quantizer", "f1", FOLDER)
    assert has_artifact(store, "quantizer", "f1")
    assert get_artifact(store, "quantizer", "f1") == FILES


def test_complete_artifact_is_left_as_it_is(store: Store) -> None:
    put_artifact(store, "quantizer", "f1", FILES)
    put_artifact(store, "quantizer", "f1", FILES | {"centroids.safetensors": b"other"})
    assert get_artifact(store, "quantizer", "f1") == FILES


def test_half_artifact_is_absent_and_can_be_put(store: Store) -> None:
    store.put(f"{FOLDER}/centroids.safetensors", FILES["centroids.safetensors"])
    assert not has_artifact(store, "quantizer", "f1")
    with pytest.raises(NotFound, match=r"f1/checksums.json does not exist; .* echox repair"):
        get_artifact(store, "quantizer", "f1")
    put_artifact(store, "quantizer", "f1", FILES)
    assert get_artifact(store, "quantizer", "f1") == FILES


def test_files_that_another_build_wrote_are_never_replaced(store: Store) -> None:
    store.put(f"{FOLDER}/centroids.safetensors", b"other")
    with pytest.raises(CommitConflict, match="written by another build with other contents"):
        put_artifact(store, "quantizer", "f1", FILES)
    assert store.get(f"{FOLDER}/centroids.safetensors") == b"other"


def test_damage_is_found(store: Store) -> None:
    put_artifact(store, "quantizer", "f1", FILES)
    store.put(f"{FOLDER}/centroids.safetensors", bytes(256))
    with pytest.raises(CorruptStore, match=r"centroids.safetensors is not what was written"):
        get_artifact(store, "quantizer", "f1")
    store.delete(f"{FOLDER}/centroids.safetensors")
    with pytest.raises(NotFound, match=r"centroids.safetensors does not exist; .* echox repair"):
        get_artifact(store, "quantizer", "f1")


def test_a_card_is_read_alone_and_checked(store: Store) -> None:
    put_artifact(store, "quantizer", "f1", FILES)
    store.delete(f"{FOLDER}/centroids.safetensors")
    assert read_card(store, "quantizer", "f1") == {"k": 2}
    store.put(f"{FOLDER}/card.json", b'{"k": 3}')
    with pytest.raises(CorruptStore, match=r"card.json is not what was written"):
        read_card(store, "quantizer", "f1")


@pytest.mark.parametrize("checksums", [b"", b"{", b"[]", b'{"card.json": 1}', b"[" * 100_000, b"\xff"])
def test_damaged_checksums_are_named(store: Store, checksums: bytes) -> None:
    put_artifact(store, "quantizer", "f1", FILES)
    store.put(f"{FOLDER}/checksums.json", checksums)
    for read in (read_card, get_artifact):
        with pytest.raises(CorruptStore, match=r"f1/checksums.json: no"):
            read(store, "quantizer", "f1")


@pytest.mark.parametrize("card", [b"", b"{", b"[]", b"[" * 100_000, b"\xff"])
def test_a_card_that_is_no_object_is_named(store: Store, card: bytes) -> None:
    put_artifact(store, "quantizer", "f1", FILES | {"card.json": card})
    with pytest.raises(CorruptStore, match=r"card.json: no JSON"):
        read_card(store, "quantizer", "f1")


def test_card_is_needed(store: Store) -> None:
    with pytest.raises(StorageError, match=r"no card.json"):
        put_artifact(store, "quantizer", "f1", {"centroids.safetensors": b""})
