"""`echox label`: labels beside a version, and mistakes in one line."""

import json
from pathlib import Path

import pytest

from tests.echox.corpora import write_corpus
from tests.echox.runs import untrained
from tests.flows.conftest import Echox

pytestmark = pytest.mark.slow


def test_a_version_is_labelled_once(echox: Echox, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "a corpus", 8)
    runs = {stage: untrained(stage, corpus, tmp_path / stage) for stage in ("s2t", "t2c")}
    command = ("label", corpus, "--s2t", runs["s2t"], "--t2c", runs["t2c"], "--set", "max_new_tokens=6")
    made = echox(*command, "--set", "max_words=8", "--json")
    assert made.returncode == 0, made.stderr
    facts = json.loads(made.stdout)
    assert (facts["new"], facts["examples"], facts["rejects"]) == (True, 8, {})
    assert facts["settings"] == {"max_new_tokens": 6, "max_words": 8}
    again = echox(*command, "--set", "max_words=8")
    assert again.stdout == f"{corpus}: labels {facts['name']} are up to date: 8 examples, 0 rejects\n"
    wrong = echox(*command, "--set", "max_word=8")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--set max_word=8: is not a field here; did you mean `max_words`?" in wrong.stderr
    assert "Traceback" not in wrong.stderr
