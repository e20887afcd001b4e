from dataclasses import replace
from pathlib import Path

import pytest

from flows.report.facts import facts, summary
from flows.report.grids import lineage_rows
from pipelines.engine.step import Reject
from pipelines.steps import table_steps
from tests.flows.versions import (
    HOUR,
    LONGEST,
    QUANTIZER,
    a_version,
    facts_of,
    large,
    statistics,
    store_of,
    with_rejects,
)


def test_facts_are_of_each_dataset_and_of_all(tmp_path: Path) -> None:
    found = facts_of(tmp_path, large())
    assert (found["hours"], found["utterances"]) == (54_321.375, 98_765_439)
    assert found["rejects"] == {"corrupt": 3, "empty_file": 2, "not_audio": 1_234_567}
    assert found["datasets"][LONGEST]["hours"] == 54_321.125
    assert found["datasets"][LONGEST]["compression"]["total_ratio"] == 4
    assert found["lineage"]["artifacts"]["quantizer"] == "q" * 32
    assert found["lineage"]["packages"] == {"torch": "2.9.1"}


def test_steps_that_did_not_exist_are_shown_as_not_run(tmp_path: Path) -> None:
    found = facts_of(tmp_path, large())
    assert found["lineage"]["not_run"] == [name for name in table_steps() if name not in large().steps] != []
    assert dict(lineage_rows(found))["not run yet"].startswith(", ".join(found["lineage"]["not_run"]))


def test_packages_are_listed_in_alphabetical_order(tmp_path: Path) -> None:
    version = replace(large(), lineage={**large().lineage, "versions": {"torch": "2", "av": "1"}})
    assert [*facts_of(tmp_path, version)["lineage"]["packages"]] == ["av", "torch"]


def test_what_defines_the_corpus_comes_from_the_cards(tmp_path: Path) -> None:
    assert facts_of(tmp_path, large())["made_with"] == {
        "features": {"kind": "hubert", "checkpoint": "/m.pt", "layer": 9},
        "grid": {"hop": 320, "view": 400},
        "k": 60,
        "centroids": None,
        "algorithm": "bpe",
        "requested_vocab_size": 8000,
        "vocab_size": 312,
        "max_word_units": 16,
        "sample_hours": 500.0,
    }
    store = store_of(tmp_path / "public", quantizer=QUANTIZER | {"fitted": {"centroids": "/km.npy"}})
    assert facts(store, large())["made_with"]["centroids"] == "/km.npy"


def test_the_grid_comes_from_the_card(tmp_path: Path) -> None:
    store = store_of(tmp_path, quantizer=QUANTIZER | {"grid": {"hop": 640, "view": 720}})
    assert facts(store, large())["made_with"]["grid"] == {"hop": 640, "view": 720}


def test_speech_that_was_added_later_is_not_learnt_from(tmp_path: Path) -> None:
    grown = a_version(3, {"version": 2, "samples": round(1.5 * HOUR)}, one=statistics(2, 9))
    found = facts_of(tmp_path, grown)
    assert found["learnt_from"] == {"version": 2, "hours": 1.5, "hours_added_since": 0.5}
    assert found["compression_note"] == (
        "Measured on the whole corpus (2.000 h). The unit language was learnt from 1.500 h of this corpus (version 2); "
        "0.500 h were added since and not learnt from (`refit: true` in the config fits it anew). "
        "Speech that the unit language was not learnt from may be compressed less."
    )


@pytest.mark.parametrize(("hours", "learnt"), [(2, "2.000"), (1200, "500.000")])
def test_what_the_unit_language_was_learnt_from(tmp_path: Path, hours: int, learnt: str) -> None:
    whole = a_version(1, {"version": 1, "samples": hours * HOUR}, one=statistics(hours, 9))
    note = facts_of(tmp_path, whole)["compression_note"]
    assert f"The unit language was learnt from {learnt} h of this corpus (version 1). Speech" in note
    assert "added since" not in note


def test_a_version_that_records_nothing_claims_nothing(tmp_path: Path) -> None:
    found = facts_of(tmp_path, a_version(one=statistics(2, 9)))
    assert found["learnt_from"] is None
    assert "The version does not record what the unit language was learnt from." in found["compression_note"]


def test_a_version_without_steps_and_tables_of_today_has_facts(tmp_path: Path) -> None:
    made = a_version(one=statistics(1, 5))
    old = replace(made, steps={}, statistics={key: made.statistics[key] for key in ("entries", "datasets")})
    found = facts_of(tmp_path, old)
    assert (found["examples"], found["unused"], found["reject_examples"]) == ({}, {}, {})
    assert found["lineage"]["work_units"] == {}


def test_rejects_have_examples_by_reason(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    bad = [Reject("one", f"/{number}.wav", "not_audio", "noise") for number in range(5)]
    receipt = with_rejects(store, *bad, Reject("one", "/x.wav", "empty_file", "0 bytes"))
    found = facts(store, replace(a_version(one=statistics(1, 5)), steps={"ingest": [receipt]}))["reject_examples"]
    assert list(found) == ["empty_file", "not_audio"]
    assert [row["source"] for row in found["not_audio"]] == ["/0.wav", "/1.wav", "/2.wav"]
    assert found["empty_file"] == [{"dataset": "one", "source": "/x.wav", "reason": "empty_file", "message": "0 bytes"}]


def test_a_summary_distinguishes_versions(tmp_path: Path) -> None:
    found = summary(store_of(tmp_path), a_version(7, one=statistics(0.5, 9)))
    assert (found["version"], found["hours"], found["utterances"], found["total_ratio"]) == (7, 0.5, 9, 4)
    assert (found["k"], found["vocab_size"]) == (60, 312)
