"""Cards of trained models."""

from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.runs import RunCard, find_run, register, run_names
from storage.store import Store


def card(name: str) -> RunCard:
    return RunCard(
        name=name,
        stage="echo",
        preset="tiny",
        corpus="/corpora/a@3",
        settings=("optimizer.lr=0.1",),
        parts={"s2t": "tiny-v3-s2t-0a"},
        code="abc",
        folder=f"/runs/{name}",
        checkpoint=f"/runs/{name}/model",
        steps=10,
        metrics={"valid/loss": 0.5},
    )


def test_a_run_is_found_by_its_name(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", create=True)
    assert run_names(store) == []
    with pytest.raises(StorageError, match="has no run b; it has none yet"):
        find_run(store, "b")
    register(store, card("b"))
    register(store, card("a"))
    assert run_names(store) == ["a", "b"]
    assert find_run(store, "b").to_dict() == {**card("b").to_dict(), "finished": find_run(store, "b").finished}
    with pytest.raises(StorageError, match="has no run c; it has a, b"):
        find_run(store, "c")
