import io
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from flows.report.records import Facts
from flows.report.terminal import tables
from tests.flows.versions import HOUR, LONGEST, a_version, facts_of, large, statistics

LONG_NAME = "a-name-that-is-much-longer-than-that"


@pytest.fixture
def found(tmp_path: Path) -> Facts:
    return facts_of(tmp_path, large())


@pytest.fixture
def small(tmp_path: Path) -> Facts:
    return facts_of(tmp_path, a_version(one=statistics(1, 5)))


def shown(thing: RenderableType, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(thing)
    text: str = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    return [line.rstrip() for line in text.splitlines()]


def cells(lines: list[str], name: str) -> list[list[str]]:
    """The cells of all rows that begin with a name."""
    return [line.split() for line in lines if line.startswith(f"{name} ")]


def test_at_80_columns_neither_numbers_nor_names_are_cut(found: Facts) -> None:
    lines = shown(tables(found))
    assert max(map(len, lines)) <= 80
    assert "…" not in "\n".join(lines)
    assert cells(lines, LONGEST) == [
        [LONGEST, "50.00", "25.00", "12.50", "4.00x", "2.00x", "2.00x"],
        [LONGEST, "54,321.125", "98,765,432", "1,234,567", "50.0%", "0.00", "0.0"],
        [LONGEST, "unknown", "54,321.125"],
        [LONGEST, "not_audio", "1,234,567"],
    ]


@pytest.mark.parametrize("width", [60, 45, 30])
def test_on_a_narrow_terminal_the_dataset_stays_and_what_does_not_fit_goes_below(found: Facts, width: int) -> None:
    lines = shown(tables(found), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "\n".join(lines)
    rows = cells(lines, LONGEST)
    assert len(rows) > 3
    values = [cell for row in rows for cell in row[1:]]
    assert values[:6] == ["50.00", "25.00", "12.50", "4.00x", "2.00x", "2.00x"]
    assert values[6:12] == ["54,321.125", "98,765,432", "1,234,567", "50.0%", "0.00", "0.0"]


def test_a_wide_terminal_keeps_a_table_together(found: Facts) -> None:
    assert len(cells(shown(tables(found), 200), LONGEST)) == 4


def test_a_long_name_goes_on_in_the_next_line(found: Facts) -> None:
    lines = shown(tables(found))
    start = next(number for number, line in enumerate(lines) if line.startswith("a-name-that-"))
    assert "".join(line[: len(LONGEST)].strip() for line in lines[start : start + 3]) == LONG_NAME


def test_all_datasets_together_are_a_row_where_there_are_several(found: Facts, small: Facts) -> None:
    assert cells(shown(tables(found)), "all")[1][1:4] == ["54,321.375", "98,765,439", "1,234,572"]
    assert cells(shown(tables(small)), "all") == []


def test_rejects_are_shown_by_dataset_and_reason_where_there_are_any(found: Facts, small: Facts) -> None:
    text = "\n".join(shown(tables(found)))
    assert re.search(r"corrupt +3\n", text)
    assert re.search(r"empty_file +2\n", text)
    assert "Rejects" in text
    assert "Rejects" not in "\n".join(shown(tables(small)))


def test_the_compression_says_what_it_was_measured_on(found: Facts) -> None:
    assert found["compression_note"] in " ".join(" ".join(shown(tables(found))).split())


def test_examples_and_what_no_stage_uses(found: Facts) -> None:
    lines = shown(tables(found))
    assert [cells(lines, stage) for stage in ("s2t", "t2c", "echo")] == [
        [["s2t", "1,234,567"]],
        [["t2c", "0"]],
        [["echo", "8"]],
    ]
    assert ["unused:", "no_text", "4,321"] in cells(lines, "unused: no_text")


def test_a_training_table_of_a_newer_program_is_shown(tmp_path: Path) -> None:
    made = a_version(one=statistics(1, 5))
    newer = replace(made, statistics=made.statistics | {"examples": {"future": 7}})
    lines = shown(tables(facts_of(tmp_path, newer)))
    assert cells(lines, "future") == [["future", "7"]]
    assert cells(lines, "s2t") == [["s2t", "0"]]


def test_what_defines_the_corpus_is_shown(found: Facts) -> None:
    text = " ".join(" ".join(shown(tables(found))).split())
    assert "features hubert, checkpoint /m.pt, layer 9" in text
    assert "quantizer k 60; qqq" in text
    assert "unit language bpe, vocabulary 312 (asked for 8,000), words of up to 16 units; uuu" in text
    assert "packages torch 2.9.1" in text


def test_the_longest_bar_is_of_the_commonest_length(small: Facts) -> None:
    compression = small["compression"] | {"word_lengths": [0, 10, 20, 0, 5]}
    lines = shown(tables(small | {"compression": compression}))
    start = next(number for number, line in enumerate(lines) if line.startswith("Units per word"))
    rows = [line.split() for line in lines[start + 3 : start + 6]]
    assert [row[:2] for row in rows] == [["1", "28.6%"], ["2", "57.1%"], ["4", "14.3%"]]
    assert [len(row[2]) for row in rows] == [20, 40, 10]


def test_names_from_a_config_are_text_not_markup(tmp_path: Path) -> None:
    found = facts_of(tmp_path, a_version(**{"[red]<b>&": statistics(1, 5)}))
    assert any(line.startswith("[red]<b>&") for line in shown(tables(found)))


def test_licences_are_shown_with_the_unknown_last_and_many_summed(tmp_path: Path) -> None:
    licensed = replace(statistics(30, 5), licences=Counter({"CC0": HOUR, **{f"l{n:02d}": HOUR for n in range(22)}}))
    found = facts_of(tmp_path, a_version(one=licensed, two=statistics(1, 5)))
    assert found["datasets"]["two"]["licences"] == {"unknown": 1}
    assert [*found["licences"].items()][-1] == ("unknown", 8)
    lines = shown(tables(found))
    start = lines.index("Licences")
    rows = [line.split() for line in lines[start + 3 : start + 47]]
    assert rows[0] == ["one", "unknown", "7.000"]
    assert rows[1] == ["one", "CC0", "1.000"]
    assert rows[20] == ["one", "4", "others", "4.000"]
    assert rows[21] == ["two", "unknown", "1.000"]
