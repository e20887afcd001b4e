"""Corpus versions made up for the tests of what is shown of them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from flows.report.facts import facts
from flows.report.records import Facts
from pipelines.build.statistics import DatasetStatistics
from pipelines.engine.step import Reject, rejects_table
from storage.artifacts import ArtifactRef, put_artifact
from storage.receipts import Receipt, write_output
from storage.store import Store
from storage.versions import Version
from unitlang.language.compression import CompressionStats

HOUR = 3600 * 16_000
LONGEST = "twelve_chars"
QUANTIZER = {"features": {"kind": "hubert", "checkpoint": "/m.pt", "layer": 9}, "k": 60, "fitted": {"k": 100}}
LANGUAGE = {
    "vocab_size": 312,
    "requested_vocab_size": 8000,
    "config": {"algorithm": "bpe", "max_word_units": 16, "sample_hours": 500.0},
}


def statistics(hours: float, utterances: int, **rejects: int) -> DatasetStatistics:
    """Half of the frames are runs, and every word has two units."""
    words = int(hours * 3600 * 50 / 4)
    counts = CompressionStats(words * 4, words * 2, np.array([0, 0, words]), np.array([0, 0, words]))
    return DatasetStatistics(counts, utterances, round(hours * HOUR), Counter(rejects))


def a_version(number: int = 1, came_with: dict[str, Any] | None = None, /, **datasets: DatasetStatistics) -> Version:
    artifacts = {name: ArtifactRef(name, name[0] * 32, f"artifacts/{name}") for name in ("quantizer", "unit_language")}
    sources = [{"kind": "folder", "dataset": name, "path": f"/{name}"} for name in datasets]
    config: dict[str, Any] = {"features": {"kind": "hubert"}, "quantizer": {"k": 100}, "unit_language": {}}
    told = {} if came_with is None else {"came_with": {"unit_language": came_with}}
    return Version(
        number=number,
        parent=number - 1 or None,
        steps={"quantize": [], "encode": []},
        artifacts=artifacts,
        config={**config, "sources": sources},
        lineage={"specs": {}, "versions": {"torch": "2.9.1"}, **told},
        statistics={
            "entries": 12,
            "datasets": {name: statistics.to_dict() for name, statistics in datasets.items()},
            "examples": {"s2t": 1_234_567, "echo": 8},
            "unused": {"no_text": 4321},
        },
        created="2026-01-02T03:04:05+00:00",
        store="/corpora/large",
    )


def large() -> Version:
    """More than anyone has."""
    return a_version(
        **{
            LONGEST: statistics(54_321.125, 98_765_432, not_audio=1_234_567),
            "a-name-that-is-much-longer-than-that": statistics(0.25, 7, corrupt=3, empty_file=2),
        }
    )


def store_of(folder: Path, *, quantizer: dict[str, Any] = QUANTIZER) -> Store:
    """A store with the cards of the artifacts."""
    store = Store.open(folder, create=True)
    for name, card in (("quantizer", quantizer), ("unit_language", LANGUAGE)):
        put_artifact(store, name, name[0] * 32, {"card.json": json.dumps(card).encode()})
    return store


def with_rejects(store: Store, *rejects: Reject) -> Receipt:
    """The receipt of a work unit of `ingest` that rejected all it had."""
    counts = dict(Counter(reject.reason for reject in rejects))
    table = [("rejects", rejects_table("ingest", rejects))]
    return write_output(store, "ingest", "a", table, rows_in=len(rejects), rows_out=0, rejects=counts, stats={})


def facts_of(folder: Path, made: Version) -> Facts:
    """The facts of a version in a store of that folder."""
    return facts(store_of(folder), made)
