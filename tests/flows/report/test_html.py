import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flows.report.facts import facts
from flows.report.html import page
from pipelines.engine.step import Reject
from storage.schemas import TRAINING
from storage.versions import Version
from tests.flows.versions import LONGEST, QUANTIZER, a_version, facts_of, large, statistics, store_of, with_rejects

VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Text and cells of a page; notices elements that are closed wrongly."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.captions = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "caption":
            self.captions += 1
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture
def html(tmp_path: Path) -> str:
    return page(facts_of(tmp_path, large()))


def test_the_page_is_one_whole_document_that_needs_nothing_else(html: str) -> None:
    assert html.startswith('<!doctype html>\n<html lang="en">')
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    assert "<title>Corpus /corpora/large, version 1</title>" in html
    assert "prefers-color-scheme: dark" in html
    assert not re.search(r"<script|<link|src=|href=|url\(|@import", html)


def test_every_table_has_a_caption_and_whole_rows(html: str) -> None:
    reader = read(html)
    assert reader.captions == len(reader.tables) > 4
    assert all(len({len(row) for row in table}) == 1 for table in reader.tables)


def test_the_page_shows_the_numbers_of_the_terminal(html: str) -> None:
    compression, corpus, licences, lengths, *_ = read(html).tables
    assert compression[0] == ["dataset", "frames/s", "runs/s", "words/s", "frames/words", "frames/runs", "runs/words"]
    assert compression[1] == [LONGEST, "50.00", "25.00", "12.50", "4.00x", "2.00x", "2.00x"]
    assert corpus[0][4] == "vocabulary used"
    assert corpus[-1][:4] == ["all", "54,321.375", "98,765,439", "1,234,572"]
    assert licences[-1] == ["all", "unknown", "54,321.375"]
    assert lengths[1:] == [["2", "100.0%", ""]]


def test_the_page_defines_ratios_and_bits(html: str) -> None:
    terms = re.findall(r"<dt>([^<]+)</dt><dd>[^<]{15,}</dd>", html)
    assert {"frames/words", "frames/runs", "runs/words", "vocabulary used", "bits/word", "bits/s"} <= set(terms)


def test_the_page_shows_what_defines_the_corpus(html: str) -> None:
    made = {row[0]: row[1] for row in read(html).tables[-1]}
    assert made["features"] == "hubert, checkpoint /m.pt, layer 9"
    assert made["quantizer"] == f"k 60; {'q' * 32}"
    assert made["unit language"].startswith("bpe, vocabulary 312 (asked for 8,000), words of up to 16 units; uu")
    assert made["packages"] == "torch 2.9.1"


@pytest.mark.parametrize(("hop", "length"), [(None, "20 ms"), (640, "40 ms"), (200, "12.5 ms")])
def test_the_page_states_the_length_of_a_frame(tmp_path: Path, hop: int | None, length: str) -> None:
    card = QUANTIZER if hop is None else QUANTIZER | {"grid": {"hop": hop, "view": hop}}
    html = page(facts(store_of(tmp_path, quantizer=card), large()))
    assert f"<dd>frames (steps of the extractor, {length}) per second of speech</dd>" in html


def test_a_version_without_steps_of_today_has_a_page(tmp_path: Path) -> None:
    made = a_version(one=statistics(1, 5))
    old = replace(made, steps={}, statistics={key: made.statistics[key] for key in ("entries", "datasets")})
    examples = read(page(facts_of(tmp_path, old))).tables[-2]
    assert examples[1:] == [[stage, "0"] for stage in TRAINING]


def test_rejects_have_their_examples(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    receipt = with_rejects(store, Reject("one", "/<i>.wav", "not_audio", "noise & more"))
    made: Version = replace(a_version(one=statistics(1, 5, not_audio=1)), steps={"ingest": [receipt]})
    html = page(facts(store, made))
    assert ["not_audio", "noise & more", "/<i>.wav"] in read(html).tables[5]
    assert "Rejects" not in page(facts_of(tmp_path, a_version(one=statistics(1, 5))))


def test_names_from_a_config_are_text_not_markup(tmp_path: Path) -> None:
    html = page(facts_of(tmp_path, a_version(**{"[red]<b>&": statistics(1, 5)})))
    assert "<b>" not in html
    assert "[red]&lt;b&gt;&amp;" in html
