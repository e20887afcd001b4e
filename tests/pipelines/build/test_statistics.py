import json
import tracemalloc
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.build.statistics import Coding, DatasetStatistics, from_version, gather, merge, overall, without
from pipelines.engine.step import Reject, rejects_table
from storage.receipts import Receipt, write_output
from storage.schemas import SCHEMAS
from storage.store import Store
from unitlang.frames import HUBERT_GRID
from unitlang.language.compression import CompressionStats
from unitlang.language.unit_language import UnitLanguage, UnitLanguageConfig, train_unit_language

WORD_LENGTHS = np.array([0, 1, 1, 3])
RATE = 16_000


def counts(words: list[int], frames: int, samples: int = RATE, **rejects: int) -> DatasetStatistics:
    runs = int(WORD_LENGTHS[words].sum())
    compression = CompressionStats.of(frames, runs, np.array(words, np.int64), WORD_LENGTHS)
    return DatasetStatistics(compression, 1, samples, Counter(rejects))


PARTS = (
    {"a": counts([1, 3], 20, 3 * RATE, missing=1), "b": counts([2], 5)},
    {"a": counts([2, 2, 2], 7, missing=2, corrupt=1)},
    {"b": counts([3, 3], 30), "c": counts([], 0, 0)},
)


def test_merging_is_exact_and_the_same_in_any_order() -> None:
    merged = {name: statistics.to_dict() for name, statistics in merge(PARTS).items()}
    assert list(merged) == ["a", "b", "c"]
    assert merged["a"] == {
        "utterances": 2,
        "samples": 4 * RATE,
        "rejects": {"corrupt": 1, "missing": 3},
        "compression": CompressionStats.of(27, 7, np.array([1, 3, 2, 2, 2]), WORD_LENGTHS).to_dict(),
    }
    for order in permutations(PARTS):
        assert {name: statistics.to_dict() for name, statistics in merge(order).items()} == merged
        halves = merge((merge(order[:1]), merge(order[1:])))
        assert {name: statistics.to_dict() for name, statistics in halves.items()} == merged


def test_merging_leaves_its_parts_alone() -> None:
    before = json.dumps([{name: s.to_dict() for name, s in part.items()} for part in PARTS])
    merge(PARTS)
    assert json.dumps([{name: s.to_dict() for name, s in part.items()} for part in PARTS]) == before


def test_overall_is_the_sum_of_the_datasets() -> None:
    total = overall(merge(PARTS))
    assert (total.utterances, total.samples, total.rejects.total()) == (5, 6 * RATE, 4)
    assert total.hours == 6 / 3600
    assert total.compression.total_ratio == (20 + 5 + 7 + 30) / (2 + 1 + 3 + 2)
    assert total.compression.num_runs == 4 + 1 + 3 + 6


def test_statistics_come_back_from_json() -> None:
    merged = merge(PARTS)
    values = {"datasets": {name: statistics.to_dict() for name, statistics in merged.items()}}
    returned = from_version(json.loads(json.dumps(values)))
    assert {name: statistics.to_dict() for name, statistics in returned.items()} == values["datasets"]
    assert returned["a"].rejects == merged["a"].rejects
    doubled = returned["a"] + merged["a"]
    assert doubled.compression.num_words == 2 * merged["a"].compression.num_words


def test_taking_away_is_the_opposite_of_adding() -> None:
    whole = merge(PARTS)
    for part in PARTS:
        others = merge(other for other in PARTS if other is not part)
        left = without(whole, part)
        assert {name: s.to_dict() for name, s in left.items()} == {name: s.to_dict() for name, s in others.items()}
    assert without(whole, whole) == {}


@pytest.mark.parametrize(
    "part",
    [
        {"d": counts([1], 3)},
        {"a": counts([1, 1], 1)},
        {"a": counts([2], 1, broken=1)},
        {"c": counts([], 0, 1)},
        {"b": counts([], 99, 0)},
        {"a": counts([], 0, 0, missing=4)},
    ],
)
def test_what_is_not_there_cannot_be_taken_away(part: dict[str, DatasetStatistics]) -> None:
    with pytest.raises(ValueError, match="these statistics do not hold"):
        without(merge(PARTS), part)


@pytest.fixture(scope="module")
def language() -> UnitLanguage:
    rng = np.random.default_rng(0)
    phrases = [rng.permutation(10)[: rng.integers(3, 6)] for _ in range(8)]
    sequences = [np.concatenate([phrases[i] for i in rng.integers(8, size=20)]) for _ in range(50)]
    unique = [sequence[np.flatnonzero(np.diff(sequence, prepend=-1))] for sequence in sequences]
    return train_unit_language(unique, UnitLanguageConfig(vocab_size=40), k=10, quantizer="q")


def receipt(store: Store, step: str, name: str, tables: list[tuple[str, pa.Table]], **stats: Any) -> Receipt:
    return write_output(store, step, name, tables, rows_in=0, rows_out=0, rejects={}, stats=stats)


def words_table(rows: list[tuple[str, np.ndarray]], language: UnitLanguage) -> pa.Table:
    """Rows of (dataset, units), each run two frames long."""
    values = [
        {
            "utterance_id": f"{dataset}/{number}",
            "dataset": dataset,
            "words": language.encode(units_R),
            "num_runs": len(units_R),
            "num_frames": 2 * len(units_R),
        }
        for number, (dataset, units_R) in enumerate(rows)
    ]
    return pa.Table.from_pylist(values, SCHEMAS["unit_language"])


def test_gathering_counts_lengths_rejects_and_words_on_top_of_what_is_known(
    tmp_path: Path, language: UnitLanguage
) -> None:
    store = Store.open(tmp_path, create=True)
    spoken = [np.arange(n) % 10 for n in (5, 9, 30)]
    table = words_table([("a", spoken[0]), ("b", spoken[1]), ("a", spoken[2])], language)
    refused = rejects_table("quantize", [Reject("b", "/x.wav", "corrupt", "broken")])
    bad = rejects_table("ingest", [Reject("c", "list:1", "bad_row", "no path"), Reject("b", "/y", "corrupt", "bad")])
    lengths = {"a": {"utterances": 2, "samples": 500}, "b": {"utterances": 1, "samples": 300}}
    receipts = {
        "ingest": [receipt(store, "ingest", "i", [("rejects", bad)])],
        "quantize": [receipt(store, "quantize", "q", [("rejects", refused)], datasets=lengths)],
        "encode": [receipt(store, "encode", "e", [("unit_language", table)])],
    }
    found = gather(store, receipts, Coding(language, HUBERT_GRID), {})
    assert {name: (s.utterances, s.samples, dict(s.rejects)) for name, s in found.items()} == {
        "a": (2, 500, {}),
        "b": (1, 300, {"corrupt": 2}),
        "c": (0, 0, {"bad_row": 1}),
    }
    assert [(s.compression.num_frames, s.compression.num_runs) for s in found.values()] == [(70, 35), (18, 9), (0, 0)]
    words = sum(len(language.encode(units_R)) for units_R in (spoken[0], spoken[2]))
    assert found["a"].compression.num_words == words
    assert found["c"].compression.total_ratio == 0
    again = gather(store, receipts, Coding(language, HUBERT_GRID), found)
    assert {name: s.to_dict() for name, s in again.items()} == {name: (s + s).to_dict() for name, s in found.items()}


@pytest.mark.slow
def test_gathering_holds_a_few_arrays_of_the_vocabulary_however_many_work_units(tmp_path: Path) -> None:
    k = 5000
    rng = np.random.default_rng(0)
    sequences = [rng.integers(k, size=200) for _ in range(20)]
    wide = train_unit_language(sequences, UnitLanguageConfig(vocab_size=k + 1), k=k, quantizer="q")
    store = Store.open(tmp_path, create=True)
    bad = rejects_table("ingest", [Reject("a", "/x", "corrupt", "bad")])
    tables = {"ingest": ("rejects", bad), "encode": ("unit_language", words_table([("a", sequences[0])], wide))}
    receipts = {step: [receipt(store, step, step, [table])] * 400 for step, table in tables.items()}
    counts = {"a": {"utterances": 1, "samples": 9}}
    receipts["quantize"] = [receipt(store, "quantize", "q", [], datasets=counts)] * 400
    gather(store, {step: some[:1] for step, some in receipts.items()}, Coding(wide, HUBERT_GRID), {})
    tracemalloc.start()
    try:
        found = gather(store, receipts, Coding(wide, HUBERT_GRID), {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found["a"].utterances, found["a"].rejects["corrupt"]) == (400, 400)
    assert found["a"].compression.num_runs == 400 * 200
    assert peak < 100 * wide.word_lengths.nbytes
