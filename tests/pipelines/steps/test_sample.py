import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from pipelines.records import StepStatistics, UtteranceRow, count_datasets, spoken_rows, utterance_files
from pipelines.steps.sample import (
    PIECE_SAMPLES,
    PRUNE_FACTOR,
    Candidate,
    Piece,
    Stratum,
    choose,
    first_candidates,
    pieces,
    priority,
)
from storage.errors import NotFound
from storage.receipts import Receipt, write_output
from storage.schemas import SCHEMAS
from storage.store import Store

RATE = 16_000
HOUR = 3600
Row = tuple[str, str, int]
"""Id, dataset, samples."""


def corpus(folder: Path, units: list[list[Row]], seeds: Sequence[int] = ()) -> tuple[Store, list[Receipt]]:
    """A store with these utterances, and receipts that name the first candidates for these seeds, if any."""
    store = Store.open(folder, create=True)
    made: list[Receipt] = []
    for number, rows in enumerate(units):
        values: list[dict[str, Any]] = [
            {
                "utterance_id": name,
                "dataset": dataset,
                "task": "asr",
                "offset_samples": 0,
                "num_samples": samples,
                "checksum": "x" if samples else None,
                "audio": {"uri": name, "bytes": None} if samples else None,
                "source_key": bytes(16),
            }
            for name, dataset, samples in rows
        ]
        files = [values[: len(rows) // 2], values[len(rows) // 2 :]] if len(rows) > 1 else [values]
        stats = StepStatistics(
            seconds=[sum(row["num_samples"] for row in of_file) / RATE for of_file in files],
            datasets=count_datasets(spoken_rows(cast(list[UtteranceRow], values))),
        )
        if seeds:
            candidates = first_candidates(cast(list[list[UtteranceRow]], files), seeds)
            stats["candidates"] = json.loads(json.dumps(candidates))
        tables = [("utterances", pa.Table.from_pylist(rows, SCHEMAS["utterances"])) for rows in files]
        rows_in = len(rows)
        made.append(
            write_output(
                store, "ingest", str(number), tables, rows_in=rows_in, rows_out=rows_in, rejects={}, stats=stats
            )
        )
    return store, made


def rows(count: int, dataset: str = "d", seconds: float = 10) -> list[Row]:
    return [(f"{dataset}/{number}", dataset, int(seconds * RATE)) for number in range(count)]


def chosen(folder: Path, units: list[list[Row]], hours: float, seed: int = 0) -> set[str]:
    """Ids of the sample; it is the same whether all, some or no receipts name the first candidates."""
    store, plain = corpus(folder / "plain", units)
    _, told = corpus(folder / "told", units, [seed, seed + 1])
    picked = choose(store, plain, hours, seed)
    some = [one if number % 2 else other for number, (one, other) in enumerate(zip(plain, told, strict=True))]
    assert choose(store, told, hours, seed) == choose(store, some, hours, seed) == picked
    assert all(pieces == sorted(set(pieces)) for pieces in picked.values())
    assert list(picked) == sorted(picked)
    ids = [row[0] for rows in units for row in rows]
    starts = np.cumsum([0, *(file.rows for file in utterance_files(plain))])
    return {ids[starts[file] + piece.row] for file, pieces in picked.items() for piece in pieces}


def test_a_small_sample_is_chosen_without_reading_a_table(tmp_path: Path) -> None:
    units = [rows(500, f"d{number % 2}") for number in range(4)]
    units = [[(f"{name}-{number}", *rest) for name, *rest in of_unit] for number, of_unit in enumerate(units)]
    store, receipts = corpus(tmp_path, units, [7])
    picked = choose(store, receipts, 0.03 * 2000 * 10 / HOUR, 7)
    for path in list(store.list("data/utterances")):
        store.delete(path)
    assert choose(store, receipts, 0.03 * 2000 * 10 / HOUR, 7) == picked
    assert sum(map(len, picked.values())) == 60
    for hours, seed in ((0.2 * 2000 * 10 / HOUR, 7), (0.03 * 2000 * 10 / HOUR, 8)):  # too large, and another seed
        with pytest.raises(NotFound):
            choose(store, receipts, hours, seed)


def test_only_files_of_a_small_dataset_are_read(tmp_path: Path) -> None:
    """Its receipts may name too little of it; those of large datasets do not."""
    units = [rows(2000, "large"), rows(3, "tiny")]
    store, receipts = corpus(tmp_path, units, [0])
    assert not {"tiny"} & {*receipts[1].stats["candidates"]["0"]}, "or choose another seed"
    for file in receipts[0].files:
        store.delete(file.path)
    picked = choose(store, receipts, 0.03 * 2003 * 10 / HOUR, 0)
    assert {file for file in picked if file > 1} == {2} or {file for file in picked if file > 1} == {3}


def test_neither_order_nor_number_of_work_units_matters(tmp_path: Path) -> None:
    everything = rows(90) + rows(30, "e", 3)
    shuffled = [everything[i] for i in np.random.default_rng(0).permutation(len(everything))]
    hours = 300 / HOUR
    one = chosen(tmp_path / "one", [everything], hours)
    many = chosen(tmp_path / "many", [shuffled[start : start + 7] for start in range(0, len(shuffled), 7)], hours)
    assert one == many
    assert 0 < len(one) < len(everything)


def test_every_dataset_gives_its_share(tmp_path: Path) -> None:
    units = [rows(600, "big", 6), rows(100, "small", 6)]
    names = chosen(tmp_path, units, 0.25 * 700 * 6 / HOUR)
    counts = {dataset: sum(name.startswith(dataset) for name in names) for dataset in ("big", "small")}
    assert counts == {"big": 150, "small": 25}


def test_a_dataset_is_never_left_out(tmp_path: Path) -> None:
    names = chosen(tmp_path, [rows(500, "big", 10), rows(3, "tiny", 1)], 1 / HOUR)
    assert {name.split("/")[0] for name in names} == {"big", "tiny"}


def test_more_hours_than_there_are_take_everything(tmp_path: Path) -> None:
    assert chosen(tmp_path, [rows(20), rows(5, "e")], 1000) == {name for name, *_ in rows(20) + rows(5, "e")}


def test_a_larger_sample_contains_the_smaller_one(tmp_path: Path) -> None:
    small, large = (chosen(tmp_path / str(seconds), [rows(50)], seconds / HOUR) for seconds in (100, 300))
    assert small < large
    assert (len(small), len(large)) == (10, 30)


def test_another_seed_is_another_sample(tmp_path: Path) -> None:
    samples = [chosen(tmp_path / str(seed), [rows(200)], 500 / HOUR, seed) for seed in (0, 1, 2**31 - 1)]
    assert [len(sample) for sample in samples] == [50, 50, 50]
    # By chance two samples of a quarter share a quarter of their 50; more than half of them never.
    assert all(len(a & b) < 25 for a, b in ((samples[0], samples[1]), (samples[1], samples[2])))


def test_turns_that_are_only_written_are_not_in_the_sample(tmp_path: Path) -> None:
    written = [(f"d/written-{number}", "d", 0) for number in range(20)]
    assert chosen(tmp_path, [[*written, ("d/spoken", "d", RATE)]], 10) == {"d/spoken"}


def test_nothing_to_choose_from(tmp_path: Path) -> None:
    assert chosen(tmp_path, [], 1) == set()


def test_a_stratum_holds_no_more_than_its_limit_allows() -> None:
    stratum = Stratum(100)
    held: list[int] = []
    for number in range(10_000):
        stratum.add(Candidate(priority(0, str(number)), 0, Piece(number, 0, 10)))
        held.append(len(stratum.candidates))
    assert max(held) <= PRUNE_FACTOR * 10 + 1
    stratum.prune()
    best = sorted(range(10_000), key=lambda number: priority(0, str(number)))[:10]
    assert [candidate.piece.row for candidate in stratum.candidates] == best


def test_a_long_utterance_does_not_push_out_the_first() -> None:
    stratum = Stratum(5)
    for number, samples in ((1, 3), (2, 1000), (0, 1)):
        stratum.add(Candidate(bytes([number]), 0, Piece(number, 0, samples)))
    stratum.prune()
    assert [candidate.piece.row for candidate in stratum.candidates] == [0, 1, 2]
    assert stratum.held == 1004


@pytest.mark.parametrize("limit", [0, 1])
def test_a_stratum_keeps_at_least_one(limit: int) -> None:
    stratum = Stratum(limit)
    for number in range(5):
        stratum.add(Candidate(bytes([number]), 0, Piece(number, 0, 50)))
    stratum.prune()
    assert [candidate.piece.row for candidate in stratum.candidates] == [0]


def test_a_long_utterance_is_cut_into_pieces_that_cover_it() -> None:
    long = 2 * PIECE_SAMPLES + 5
    assert list(pieces(3, long)) == [
        Piece(3, 0, PIECE_SAMPLES),
        Piece(3, PIECE_SAMPLES, PIECE_SAMPLES),
        Piece(3, 2 * PIECE_SAMPLES, 5),
    ]
    assert list(pieces(3, 400)) == [Piece(3, 0, 400)]
    assert list(pieces(3, 0)) == []


def test_of_a_long_utterance_no_more_is_taken_than_asked_for(tmp_path: Path) -> None:
    store, made = corpus(tmp_path, [[("d/long", "d", 10 * HOUR * RATE)]])
    (taken,) = choose(store, made, 1.0, 0).values()
    assert sum(piece.samples for piece in taken) == HOUR * RATE
    assert len({piece.offset for piece in taken}) == 6
