"""The page that a run leaves in the UI."""

from dataclasses import replace
from pathlib import Path

from flows.artifacts import fetchable, markdown
from tests.flows.versions import a_version, facts_of, statistics
from unitlang.printing import shown_lines


def test_hours_rejects_lineage_and_links(tmp_path: Path) -> None:
    made = a_version(2, read=statistics(1.5, 10, corrupt=2))
    text = markdown(facts_of(tmp_path, made), "s3://corpora/a/reports/00000002.html")
    assert text.startswith("# Version 2 of `/corpora/large`\n")
    assert "| read | 1.500 | 10 | 2 |" in text
    assert "| read | corrupt | 2 |" in text
    assert "- source read: `folder /read`" in text
    assert "Report: `s3://corpora/a/reports/00000002.html`" in text
    assert "candidate" not in text


def test_a_candidate_says_what_to_look_at(tmp_path: Path) -> None:
    made = replace(a_version(2, read=statistics(1.5, 10)), review=["hours went from 10 to 1.5"])
    text = markdown(facts_of(tmp_path, made), "/a/reports/00000002.html")
    assert "**candidate**\n\n- hours went from 10 to 1.5\n" in text


def test_names_cannot_break_the_table(tmp_path: Path) -> None:
    made = a_version(1, **{"a|b": statistics(1.0, 3)})
    assert "| a\\|b | 1.000 |" in markdown(facts_of(tmp_path, made), "/r")


def test_names_do_not_act(tmp_path: Path) -> None:
    made = replace(a_version(2, **{"a\n\x1b\u202e": statistics(1.0, 3)}), review=["why\x1b"])
    text = markdown(facts_of(tmp_path, made), "/r\u202e")
    assert shown_lines(text) == text
    assert "| a\\n\\x1b\\u202e | 1.000 |" in text


def test_the_report_of_a_bucket_is_readable_without_a_link(tmp_path: Path) -> None:
    """No browser opens `s3://`, so the artifact holds the tables, and says how to fetch the page."""
    made = a_version(2, read=statistics(1.5, 10, corrupt=2))
    text = fetchable(facts_of(tmp_path, made), "s3://corpora/a/reports/00000002.html")
    assert "| read | 1.500 | 10 | 2 |" in text
    assert "## Compression" in text
    assert "| frames/words |" in text
    assert "\naws s3 cp s3://corpora/a/reports/00000002.html report.html\n" in text
    assert "\nechox inspect /corpora/large@2\n" in text
