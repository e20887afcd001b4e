"""A candidate is not trained on until a person has approved it."""

from dataclasses import replace
from pathlib import Path

import pytest

from storage.approvals import approve, approver, check_trainable, last_accepted, status
from storage.errors import StorageError
from storage.store import Store
from storage.versions import Version, commit, load


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three versions; the last two are candidates."""
    store = Store.open(tmp_path / "store", create=True)
    for number, review in ((1, []), (2, ["hours went from 10 to 1"]), (3, ["hours went from 10 to 1"])):
        first = Version(
            number=number, parent=number - 1 or None, steps={}, artifacts={}, config={}, lineage={}, statistics={}
        )
        commit(store, replace(first, review=review))
    return store


def test_what_nobody_needs_to_look_at_is_accepted(store: Store) -> None:
    version = load(store, 1)
    assert status(store, version) == "accepted"
    assert not approve(store, version)
    check_trainable(store, version)


def test_a_candidate_is_refused_with_what_to_look_at(store: Store) -> None:
    version = load(store, 2)
    assert status(store, version) == "candidate"
    assert approver(store, version) is None
    with pytest.raises(StorageError, match=r"store@2 is a candidate: hours went from 10 to 1\..*echox approve"):
        check_trainable(store, version)


def test_an_approval_lasts(store: Store) -> None:
    assert approve(store, load(store, 2))
    assert status(store, load(store, 2)) == "approved"
    assert not approve(store, load(store, 2))
    assert ", 20" in str(approver(store, load(store, 2)))
    check_trainable(store, load(store, 2))
    assert status(store, load(store, 3)) == "candidate"


def test_versions_are_compared_with_the_last_accepted_one(store: Store) -> None:
    def accepted(version: int) -> int | None:
        found = last_accepted(store, load(store, version))
        return found.number if found else None

    assert accepted(3) == 1
    approve(store, load(store, 2))
    assert accepted(3) == 2
    assert last_accepted(store, None) is None
