"""`echox diff`: of one store, and of two."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import Echox

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grown(store: Path, config: Path, echox: Echox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus with a second version: one more file in place of an empty one, and fewer words."""
    copy = Path(shutil.copytree(store, tmp_path_factory.mktemp("diff") / "corpus"))
    empty = config.parent / "read" / "empty.wav"
    shutil.copy(config.parent / "talk" / "0.wav", empty)
    try:
        built = echox("build", config, "--store", copy, "--set", "unit_language.vocab_size=25")
    finally:
        empty.write_bytes(b"")
    assert built.returncode == 0, built.stderr
    return copy


def differences(echox: Echox, before: str, after: str) -> dict[str, Any]:
    shown = echox("diff", before, after, "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    return json.loads(shown.stdout)


def test_differences_for_programs(grown: Path, echox: Echox) -> None:
    found = differences(echox, f"{grown}@1", str(grown))
    assert found["corpora"] == [f"{grown}@1", f"{grown}@2"]
    assert (found["before"]["utterances"], found["after"]["utterances"]) == (9, 10)
    assert found["after"]["hours"] - found["before"]["hours"] == pytest.approx(2 / 3600)
    changes = found["differences"]
    none = {"removed": 0, "content": 0, "facts": 0, "changed_facts": {}}
    assert changes["entries"] == {"read": {"added": 1, **none}}
    assert changes["rejects"] == {"empty_file": {"came": 0, "went": 1, "healed": 1}}
    assert changes["settings"] == {"unit_language.vocab_size": {"before": 30, "after": 25}}
    words = changes["words"]
    assert words["went"] - words["came"] == 5
    assert words["came"] + words["stayed"] == 24
    assert words["went"] >= len(words["most_frequent_went"]) > 0
    counts = [word["count"] for word in words["most_frequent_went"]]
    assert counts == sorted(counts, reverse=True)
    assert all(set(word["word"]) <= {*"0123456789_"} for word in words["most_frequent_went"])


def test_differences_for_people(grown: Path, echox: Echox) -> None:
    shown = echox("diff", f"{grown}@1", f"{grown}@2")
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines]
    assert ["utterances", "9", "10", "+1"] in rows
    assert ["read", "1", "0", "0", "0"] in rows
    assert ["empty_file", "0", "1", "1"] in rows
    assert ["unit_language.vocab_size", "30", "25"] in rows
    assert "Most frequent that went: " in shown.stdout


def test_two_stores_are_compared_and_what_both_have_is_not_read(
    store: Path, grown: Path, echox: Echox, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(grown, tmp_path / "other"))
    common = {path.name for path in (store / "data" / "utterances").iterdir()}
    for name in common:
        (other / "data" / "utterances" / name).unlink()
    assert (
        differences(echox, str(store), str(other))["differences"]
        == (differences(echox, f"{grown}@1", f"{grown}@2")["differences"])
    )
    (own,) = {path.name for path in (other / "data" / "utterances").iterdir()}
    (other / "data" / "utterances" / own).unlink()
    failed = echox("diff", store, other)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert f"error: {other}/data/utterances/{own} does not exist; " in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_version_does_not_differ_from_itself(store: Path, echox: Echox) -> None:
    shown = echox("diff", store, f"{store}@1")
    assert shown.returncode == 0
    assert "No utterance was added, removed or changed." in shown.stdout
    changes = differences(echox, str(store), f"{store}@1")["differences"]
    assert (changes["entries"], changes["rejects"], changes["settings"]) == ({}, {}, {})
    assert (changes["words"]["came"], changes["words"]["went"]) == (0, 0)
