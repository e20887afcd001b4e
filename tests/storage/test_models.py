"""Cards of trained models."""

from dataclasses import replace
from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.models import ModelCard, find_model, model_names, register
from storage.store import Store


def card(name: str) -> ModelCard:
    return ModelCard(
        name=name,
        stage="echo",
        architecture="tiny",
        corpus="/corpora/a@3",
        settings=("optimizer.lr=0.1",),
        source_models={"s2t": "tiny-v3-s2t-0a"},
        code="abc",
        folder=f"/runs/{name}",
        checkpoint=f"/runs/{name}/model",
        steps=10,
        metrics={"valid/loss": 0.5},
    )


def test_a_model_is_found_by_its_name(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", create=True)
    assert model_names(store) == []
    with pytest.raises(StorageError, match="has no model b; it has none yet"):
        find_model(store, "b")
    register(store, card("b"))
    register(store, card("a"))
    assert model_names(store) == ["a", "b"]
    assert find_model(store, "b").to_dict() == {**card("b").to_dict(), "finished": find_model(store, "b").finished}
    with pytest.raises(StorageError, match="has no model c; it has a, b"):
        find_model(store, "c")


def test_a_card_of_the_version_before_is_read(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", create=True)
    old = (
        '{"checkpoint":"/runs/a/model","code":"abc","corpus":"/corpora/a@3","finished":"2025-09-09T00:00:00+00:00",'
        '"folder":"/runs/a","metrics":{"valid/loss":0.5},"name":"a","parts":{"s2t":"tiny-v3-s2t-0a"},"preset":"tiny",'
        '"settings":["optimizer.lr=0.1"],"stage":"echo","steps":10}'
    )
    store.put("runs/a/run.json", old.encode())
    found = find_model(store, "a")
    assert found == replace(card("a"), finished="2025-09-09T00:00:00+00:00")
    register(store, found)
    assert find_model(store, "a") == found
    assert b'"architecture"' in store.get("runs/a/run.json")
