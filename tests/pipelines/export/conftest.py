"""The corpus of the tests of exports."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.export.corpora import Corpus, held, make

os.environ["HF_HUB_OFFLINE"] = "1"  # `datasets` reads it when it is imported


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Corpus:
    """A corpus of real speech; read only."""
    return make(tmp_path_factory.mktemp("corpus"), shared_data)


@pytest.fixture(scope="session")
def truth(corpus: Corpus) -> dict[str, dict[str, Any]]:
    """Contents of the corpus for each utterance."""
    return held(corpus)
