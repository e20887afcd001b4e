"""`echox inspect`: for programs and for people."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import Echox


def test_inspect_for_programs(store: Path, echox: Echox) -> None:
    shown = echox("inspect", f"{store}@1", "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    facts: dict[str, Any] = json.loads(shown.stdout)
    assert (facts["version"], facts["entries"], facts["utterances"]) == (1, 11, 9)
    assert facts["examples"] == {"s2t": 6, "t2c": 3}
    assert set(facts["datasets"]) == {"read", "conversation"}
    read, talk = facts["datasets"]["read"], facts["datasets"]["conversation"]
    assert (read["hours"], talk["hours"]) == (6 * 2 / 3600, 3 * 2 / 3600)
    assert (read["utterances"], talk["utterances"]) == (6, 3)
    assert (read["rejects"], talk["rejects"]) == ({"empty_file": 1}, {"not_audio": 1})
    for part in (facts, read, talk):
        ratios = part["compression"]
        assert ratios["dedup_ratio"] > 1
        assert ratios["unit_language_ratio"] > 1
        assert ratios["total_ratio"] == pytest.approx(ratios["dedup_ratio"] * ratios["unit_language_ratio"])
    assert facts["learnt_from"] == {"version": 1, "hours": facts["hours"], "hours_added_since": 0}
    assert (facts["made_with"]["k"], facts["made_with"]["requested_vocab_size"]) == (10, 30)
    assert facts["made_with"]["grid"] == {"hop": 320, "view": 400}
    assert set(facts["lineage"]["artifacts"]) == {"quantizer", "unit_language"}


def test_inspect_for_people(store: Path, echox: Echox) -> None:
    tables = echox("inspect", store)
    assert tables.returncode == 0
    assert max(map(len, tables.stdout.splitlines())) <= 80
    assert "conversation" in tables.stdout
    assert "afolder[1]/read" in "".join(tables.stdout.split())


def test_a_version_without_a_step_that_exists_now_is_shown(store: Path, echox: Echox, tmp_path: Path) -> None:
    old = Path(shutil.copytree(store, tmp_path / "old"))
    file = old / "manifests" / "00000001.json"
    manifest: dict[str, Any] = json.loads(file.read_text("utf-8"))
    del manifest["checksum"], manifest["steps"]["shard"]
    del manifest["statistics"]["examples"], manifest["statistics"]["unused"]
    file.write_text(json.dumps(manifest))
    shown = echox("inspect", old, "--json")
    assert shown.returncode == 0, shown.stderr
    facts = json.loads(shown.stdout)
    assert (facts["examples"], facts["unused"]) == ({}, {})
    assert "shard" not in facts["lineage"]["work_units"]
    for command in ("inspect", "versions"):
        assert echox(command, old).returncode == 0
