"""Stores to test with: every test that takes `store` runs on a disk and on S3."""

from pathlib import Path

import pytest

from storage.store import Store


@pytest.fixture(params=["local", "s3"])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return request.getfixturevalue("s3_bucket")
    return str(tmp_path / "store")


@pytest.fixture
def store(store_uri: str) -> Store:
    return Store.open(store_uri, create=True)
