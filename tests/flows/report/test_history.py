"""The versions of a corpus: what all have in common is said once, the table shows what tells them apart."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.report.facts import summary
from flows.report.history import versions_tables
from flows.report.records import VersionSummary
from storage.artifacts import ArtifactRef, put_artifact
from tests.flows.versions import QUANTIZER, a_version, statistics, store_of

HUBERT: dict[str, Any] = {"kind": "hubert", "checkpoint": "/m.pt", "layer": 6}
MFCC: dict[str, Any] = {"kind": "mfcc"}


def lines(summaries: list[VersionSummary], width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(versions_tables(summaries))
    text: str = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    return [line.rstrip() for line in text.splitlines()]


def of_hours(folder: Path, *hours: float) -> list[VersionSummary]:
    store = store_of(folder)
    return [
        summary(store, a_version(number, one=statistics(value, 9 + number)))
        for number, value in enumerate(hours, start=1)
    ]


def test_what_all_versions_have_is_said_once_above_the_table(tmp_path: Path) -> None:
    shown = lines(of_hours(tmp_path, 0.5, 6123.4))
    table = shown.index("Versions")
    head = " ".join(shown[:table])
    assert head.startswith("All 2 versions: status accepted, frames/words 4.00x, frames/runs 2.00x, runs/words 2.00x, ")
    for fact in ("features hubert", "checkpoint /m.pt", "layer 9", "k 60", "algorithm bpe", "vocabulary 312"):
        assert fact in head
    for fact in ("max word units 16", "quantizer qqqqqq", "unit language uuuuuu"):
        assert fact in head
    rows = [line.split() for line in shown[table:] if "2026" in line]
    assert rows == [["1", "2026-01-02", "03:04", "0.500", "10"], ["2", "2026-01-02", "03:04", "6,123.4", "11"]]
    assert max(map(len, shown)) <= 80


def test_a_single_version_has_its_numbers_in_the_table(tmp_path: Path) -> None:
    shown = lines(of_hours(tmp_path, 0.5))
    assert shown[0].startswith("The only version: status accepted, features hubert, ")
    assert shown[-1].split() == ["1", "2026-01-02", "03:04", "0.500", "10", "4.00x", "2.00x", "2.00x"]


def test_each_setting_that_differs_is_a_column(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    first = a_version(one=statistics(1, 9))
    others: list[VersionSummary] = []
    for number, features in ((2, HUBERT), (3, MFCC)):
        card = {**QUANTIZER, "features": features, "k": 1000}
        put_artifact(store, "quantizer", str(number) * 32, {"card.json": json.dumps(card).encode()})
        quantizer = ArtifactRef("quantizer", str(number) * 32, "artifacts/q")
        version = replace(first, number=number, artifacts={**first.artifacts, "quantizer": quantizer})
        others.append(summary(store, version))
    shown = lines([summary(store, first), *others], width=160)
    table = shown.index("Versions")
    assert "checkpoint" not in " ".join(shown[:table])
    assert "algorithm bpe, vocabulary 312, max word units 16" in " ".join(shown[:table])
    rows = [line.split()[3:] for line in shown[table:] if "2026" in line]
    assert rows == [
        ["hubert", "/m.pt", "9", "60", "qqqqqq"],
        ["hubert", "/m.pt", "6", "1,000", "222222"],
        ["mfcc", "-", "-", "1,000", "333333"],
    ]


def test_a_candidate_among_accepted_versions_is_a_column(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    made = [a_version(one=statistics(1, 9)), replace(a_version(2, one=statistics(1, 9)), review=["hours"])]
    shown = lines([summary(store, version) for version in made])
    rows = [line.split()[-1] for line in shown if "2026" in line]
    assert rows == ["accepted", "candidate"]


def test_at_any_width_nothing_is_cut(tmp_path: Path) -> None:
    for width in (80, 45, 30):
        shown = lines(of_hours(tmp_path, 0.5, 54_321.125), width)
        assert max(map(len, shown)) <= width
        assert "…" not in "\n".join(shown)
