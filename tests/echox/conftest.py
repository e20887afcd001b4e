"""Fixtures of the training package's tests."""

import pytest

from tests.echox.corpora import write_corpus


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> str:
    """STORE@1 of 40 examples in each table, none of them marked for validation."""
    return write_corpus(tmp_path_factory.mktemp("tones") / "corpus")
