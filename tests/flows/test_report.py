import io
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from flows.report import facts, page, tables, versions_table
from pipelines.statistics import DatasetStatistics
from storage.artifacts import ArtifactRef
from storage.manifests import Manifest
from unitlang.compression import CompressionStats

HOUR = 3600 * 16_000
LONGEST = "twelve_chars"


def statistics(hours: float, utterances: int, **rejects: int) -> DatasetStatistics:
    """Half of the frames are runs, and every word has two units."""
    words = int(hours * 3600 * 50 / 4)
    counts = CompressionStats(words * 4, words * 2, np.array([0, 0, words]), np.array([0, 0, words]))
    return DatasetStatistics(counts, utterances, round(hours * HOUR), Counter(rejects))


def manifest(version: int = 1, **datasets: DatasetStatistics) -> Manifest:
    artifacts = {name: ArtifactRef(name, name[0] * 32, f"artifacts/{name}") for name in ("quantizer", "unit_language")}
    sources = [{"kind": "folder", "dataset": name, "path": f"/{name}"} for name in datasets]
    config: dict[str, Any] = {"features": {"kind": "mfcc"}, "quantizer": {"k": 100}, "sources": sources}
    return Manifest(
        version=version,
        parent=version - 1 or None,
        steps={"quantize": [], "encode": []},
        artifacts=artifacts,
        config={**config, "unit_language": {"vocab_size": 8000, "sample_hours": 500.0}},
        lineage={"specs": {}, "versions": {"torch": "2.9.1"}},
        statistics={
            "entries": 12,
            "datasets": {name: statistics.to_dict() for name, statistics in datasets.items()},
            "examples": {"s2t": 1_234_567, "echo": 8},
            "unused": {"no_text": 4321},
        },
        created="2026-01-02T03:04:05+00:00",
        store="/corpora/large",
    )


@pytest.fixture
def large() -> Manifest:
    """More than anyone has."""
    return manifest(
        **{
            LONGEST: statistics(54_321.125, 98_765_432, not_audio=1_234_567),
            "a-name-that-is-much-longer-than-that": statistics(0.25, 7, corrupt=3, empty_file=2),
        }
    )


def shown(thing: RenderableType, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(thing)
    text: str = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    return [line.rstrip() for line in text.splitlines()]


def cells(lines: list[str], name: str) -> list[list[str]]:
    """The cells of all rows that begin with a name."""
    return [line.split() for line in lines if line.startswith(f"{name} ")]


def test_at_80_columns_neither_numbers_nor_names_are_cut(large: Manifest) -> None:
    lines = shown(tables(large))
    assert max(map(len, lines)) <= 80
    assert "…" not in "\n".join(lines)
    assert cells(lines, LONGEST) == [
        [LONGEST, "50.00", "25.00", "12.50", "4.00x", "2.00x", "2.00x"],
        [LONGEST, "54,321.125", "98,765,432", "1,234,567", "50.0%", "0.00", "0.0"],
        [LONGEST, "not_audio", "1,234,567"],
    ]


def test_a_long_name_goes_on_in_the_next_line(large: Manifest) -> None:
    lines = shown(tables(large))
    start = next(number for number, line in enumerate(lines) if line.startswith("a-name-that-"))
    first_column = "".join(line[: len(LONGEST)].strip() for line in lines[start : start + 3])
    assert first_column == "a-name-that-is-much-longer-than-that"


def test_all_datasets_together_are_a_row_where_there_are_several(large: Manifest) -> None:
    assert cells(shown(tables(large)), "all")[1][1:4] == ["54,321.375", "98,765,439", "1,234,572"]
    assert cells(shown(tables(manifest(one=statistics(1, 5)))), "all") == []


def test_rejects_are_told_by_dataset_and_reason_where_there_are_any(large: Manifest) -> None:
    text = "\n".join(shown(tables(large)))
    assert re.search(r"corrupt +3\n", text)
    assert re.search(r"empty_file +2\n", text)
    assert "Rejects" in text
    assert "Rejects" not in "\n".join(shown(tables(manifest(one=statistics(1, 5)))))


def test_the_compression_says_what_it_was_measured_on(large: Manifest) -> None:
    text = " ".join(" ".join(shown(tables(large))).split())
    note = "Measured on the whole corpus, which the unit language was learnt from (at most 500 h of it)."
    assert note in text
    assert facts(large)["compression_note"].startswith(note)


def test_examples_and_what_no_stage_uses(large: Manifest) -> None:
    lines = shown(tables(large))
    assert [cells(lines, stage) for stage in ("s2t", "t2c", "echo")] == [
        [["s2t", "1,234,567"]],
        [["t2c", "0"]],
        [["echo", "8"]],
    ]
    assert ["unused:", "no_text", "4,321"] in cells(lines, "unused: no_text")


def test_versions_at_80_columns(large: Manifest) -> None:
    lines = shown(versions_table([manifest(one=statistics(0.5, 9)), large, manifest(123, one=statistics(2, 3))]))
    assert max(map(len, lines)) <= 80
    assert "…" not in "\n".join(lines)
    rows = [line.split() for line in lines if "2026" in line]
    assert rows[0] == ["1", "2026-01-02", "03:04", "0.500", "9", "4.00x", "qqqqqqqq", "uuuuuuuu"]
    assert rows[1][3:5] == ["54,321.375", "98,765,439"]
    assert rows[2][0] == "123"


def test_facts_are_of_each_dataset_and_of_all(large: Manifest) -> None:
    found = facts(large)
    assert (found["hours"], found["utterances"]) == (54_321.375, 98_765_439)
    assert found["rejects"] == {"corrupt": 3, "empty_file": 2, "not_audio": 1_234_567}
    assert found["datasets"][LONGEST]["hours"] == 54_321.125
    assert found["datasets"][LONGEST]["compression"]["total_ratio"] == 4
    assert found["lineage"]["artifacts"]["quantizer"] == "q" * 32


def test_the_page_has_the_ratios_and_needs_nothing_else(large: Manifest) -> None:
    html = page(large)
    assert all(ratio in html for ratio in ("4.00x", "2.00x", "frames/words", "frames/runs", "runs/words"))
    assert html.startswith("<!DOCTYPE html>")
    assert not re.search(r"<script|<link|src=|href=", html)


def test_names_from_a_config_are_text_not_markup() -> None:
    made = manifest(**{"[red]<b>&": statistics(1, 5)})
    assert any(line.startswith("[red]<b>&") for line in shown(tables(made)))
    assert "<b>" not in page(made)
    assert "[red]&lt;b&gt;&amp;" in page(made)
