"""Batches come from streams: the same for any number of workers, each of which reads only its share."""

import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest

from echox.data import streams
from echox.data.config import DataConfig
from echox.data.corpus import Corpus, hold_out
from echox.data.pipeline import Source
from echox.data.worker import Worker
from echox.errors import EchoxError
from storage.errors import CorruptStore, NotFound
from storage.ranges import RangeReader
from tests.echox.shelves import sized_reading, write_shelves

pytestmark = pytest.mark.slow

CONFIG = DataConfig(max_tokens=256, max_length=64, shuffle_rows=16 * 128, streams=16)
AUDIO_BYTES = 4000
"""A row group has 1 MB, so that the 64 KB at the end of its file do not count for much."""
FILES = 32  # 64 row groups
SEED = 3


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source[Any]:
    corpus = write_shelves(tmp_path_factory.mktemp("shelves") / "store", FILES, audio_bytes=AUDIO_BYTES)
    return Source(corpus, sized_reading(AUDIO_BYTES), hold_out(corpus, "s2t", 0.05), CONFIG)


def of(source: Source[Any], rank: int, workers: int, **changes: Any) -> Source[Any]:
    return replace(source, worker=Worker(rank, workers), config=source.config.model_copy(update=changes))


def names(batches: Any, count: int | None = None) -> list[list[str]]:
    return [batch.names for batch in islice(batches, count)]


def test_any_number_of_workers_shares_the_same_batches(source: Source[Any]) -> None:
    single = source.training(SEED)
    alone = names(single, 96)
    for workers in (2, 3, 4, 16, 32):
        all_batches = [of(source, rank, workers).training(SEED) for rank in range(workers)]
        each = [names(batches, 96 // workers) for batches in all_batches]
        assert [batch for step in zip(*each, strict=True) for batch in step] == alone
        assert sum(batches.skipped for batches in all_batches) == single.skipped > 0
    assert names(source.training(SEED + 1), 96) != alone


def test_threads_and_prefetching_change_nothing(source: Source[Any]) -> None:
    assert names(of(source, 0, 1, threads=4, prefetch=9).training(SEED), 60) == names(source.training(SEED), 60)


class Bytes:
    """Counts the bytes that are read of files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        read = RangeReader.readinto

        def counted(reader: RangeReader, buffer: Any) -> int:
            length = read(reader, buffer)
            self.count += length
            return length

        monkeypatch.setattr(RangeReader, "readinto", counted)


def batches_of_an_epoch(source: Source[Any]) -> int:
    """Number of batches with which as many rows are read as an epoch has."""
    rows, count = 0.95 * source.corpus.rows("s2t"), 0
    batches = source.training(SEED)
    for count, batch in enumerate(batches, 1):  # noqa: B007
        rows -= batch.num_examples
        if rows < batches.skipped:
            break
    batches.close()
    return count


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_all_workers_together_read_the_corpus_once_an_epoch(
    source: Source[Any], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = 3
    count = epochs * batches_of_an_epoch(source)
    whole = epochs * sum(file.bytes for file in source.corpus.version.files("s2t"))
    read = Bytes(monkeypatch)
    for rank in range(workers):
        batches = of(source, rank, workers).training(SEED)
        names(batches, count // workers)
        batches.close()
    held = 2 * CONFIG.streams / len(source.corpus.row_groups("s2t")) / epochs  # what is read ahead or held at the end
    assert (1 - held) * whole < read.count < (1.1 + held) * whole


def test_every_row_comes_once_an_epoch(source: Source[Any]) -> None:
    epochs, seen = 6, Counter[str]()
    expected = {name for batch in names(source.training(SEED), 3000) for name in batch}
    batches: Any = source.training(SEED)
    rows = sum(group.counts.train for group in source.corpus.row_groups("s2t"))
    while seen.total() < 0.85 * epochs * rows:
        seen.update(next(batches).names)
    assert len(seen) > 0.9 * rows * 0.95  # those longer than 64 are left out
    assert max(seen.values()) <= epochs
    assert min(seen[name] for name in expected) >= epochs - 3
    assert batches.skipped > 0


def test_batches_differ_from_epoch_to_epoch_and_mix_row_groups(source: Source[Any]) -> None:
    count = batches_of_an_epoch(source)
    all_batches = names(source.training(SEED), 3 * count)
    pairs = [
        Counter(frozenset((one, other)) for batch in part for one in batch for other in batch if one < other)
        for part in (all_batches[:count], all_batches[count : 2 * count])
    ]
    assert len(pairs[0].keys() & pairs[1].keys()) < 0.12 * len(pairs[0]), "few meet again"
    neighbours = [{name[:4] for batch in all_batches[first : first + 16] for name in batch} for first in (0, 160, 800)]
    assert all(len(files) >= 8 for files in neighbours), "a step of 16 batches has examples of many shards"


@pytest.mark.parametrize(("rank", "workers"), [(0, 1), (1, 4), (2, 3), (21, 32)])
def test_a_resumed_worker_goes_on_exactly(source: Source[Any], rank: int, workers: int) -> None:
    """At random points, several times, from states that went through a file."""
    own = of(source, rank, workers)
    whole = names(own.training(SEED), 420)
    rng = np.random.default_rng(rank)
    found: list[list[str]] = []
    state: bytes | None = None
    while len(found) < 400:
        batches = own.training(SEED)
        if state is not None:
            batches.load_state_dict(pickle.loads(state))  # noqa: S301
        found += names(batches, int(rng.integers(1, 120)))
        state = pickle.dumps(batches.state_dict())
        batches.close()
        assert len(state) < 100_000
    assert found[:400] == whole[:400]


def test_a_state_can_be_saved_before_the_first_batch_and_twice(source: Source[Any]) -> None:
    whole = names(source.training(SEED), 50)
    first = source.training(SEED)
    first.load_state_dict(first.state_dict())
    assert names(first, 20) == whole[:20]
    state = first.state_dict()
    assert names(first, 10) == whole[20:30]
    first.load_state_dict(state)
    assert names(first, 30) == whole[20:]


def test_rare_lengths_do_not_keep_old_row_groups(source: Source[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PATIENCE", 20)
    batches: Any = source.training(SEED)
    count = 1500
    sizes = [(max(batch.lengths), len(batch.lengths)) for batch in islice(batches, count)]
    assert sum(longest * number < 0.5 * CONFIG.max_tokens for longest, number in sizes) < 0.1 * count
    states: Any = batches.state_dict()["states"]
    for state in states.values():
        assert min(state["waiting"][2::3]) >= state["seen"] - 20 * 16 - 256, "the longest wait for the smallest bucket"
    resumed = source.training(SEED)
    resumed.load_state_dict(batches.state_dict())
    assert names(resumed, 100) == names(batches, 100)


def test_a_resume_with_another_number_of_streams_is_refused(source: Source[Any]) -> None:
    batches = source.training(SEED)
    next(batches)
    other = of(source, 0, 1, streams=8).training(SEED)
    other.load_state_dict(batches.state_dict())
    with pytest.raises(EchoxError, match="come from 16 streams, not from 8; resume with the `data` settings"):
        next(other)


def test_small_tables_have_fewer_streams(tmp_path: Path) -> None:
    for files, expected in ((1, 1), (5, 2), (9, 4)):
        corpus = write_shelves(tmp_path / str(files), files)
        made = Source(corpus, sized_reading(), hold_out(corpus, "s2t", 0.1), CONFIG).training(SEED)
        assert len(made.streams) == expected


def test_hopeless_lengths_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HOPELESS", 500)
    corpus = write_shelves(tmp_path / "store", 1)
    short = CONFIG.model_copy(update={"max_length": 8, "max_tokens": 8})
    longer = Source(corpus, sized_reading(), hold_out(corpus, "s2t", 0.1), short)
    limited = replace(longer.reading, example=lambda row: replace(longer.reading.example(row), length=9))
    with pytest.raises(EchoxError, match=r"data\.max_length 8: 500 examples in a row are longer"):
        next(replace(longer, reading=limited).training(SEED))


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    corpus = write_shelves(tmp_path / "store", 4, audio_bytes=AUDIO_BYTES)
    path = corpus.paths("s2t")[2]
    file = tmp_path / "store" / path
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    damaged = Source(corpus, sized_reading(AUDIO_BYTES), hold_out(corpus, "s2t", 0.05), CONFIG)
    with pytest.raises(CorruptStore, match=f"{path}: not the Parquet file that was written"):
        names(damaged.training(SEED), 500)
    file.unlink()
    with pytest.raises(NotFound, match=path):
        names(damaged.training(SEED), 500)


def validated(source: Source[Any], workers: int) -> list[list[list[str]]]:
    return [names(of(source, rank, workers).validation()) for rank in range(workers)]


def test_any_number_of_workers_shares_one_validation(source: Source[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    (alone,) = validated(source, 1)
    assert len(alone) == 64
    for workers in (2, 5):
        shares = validated(source, workers)
        assert [batch for share in shares for batch in share] == alone
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    few = [names(of(source, rank, 7, valid_batches=5).validation()) for rank in range(7)]
    assert [batch for share in few for batch in share] == alone[:5]
    held = {name for batch in names(source.training(SEED), 2000) for name in batch}
    assert held.isdisjoint(name for batch in alone for name in batch)
    whole = names(of(source, 0, 1, valid_batches=None).validation())
    assert whole[:64] == alone
    read = Bytes(monkeypatch)
    validation = source.validation()
    first = names(validation)
    before = read.count
    assert names(validation) == first == alone
    assert read.count == before, "it is read once"


def test_only_row_groups_with_rows_for_validation_are_read_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shelves(tmp_path / "store", 12, audio_bytes=AUDIO_BYTES)
    corpus = write_shelves(tmp_path / "store", 1, 300, audio_bytes=AUDIO_BYTES, splits=("dev", "test"))
    read = Bytes(monkeypatch)
    source = Source(corpus, sized_reading(AUDIO_BYTES), hold_out(corpus, "s2t", 0.05), CONFIG)
    found = [name for batch in names(source.validation()) for name in batch]
    assert len(found) > 120
    assert all(name.startswith("0012-") for name in found)
    assert read.count < 2 * corpus.version.files("s2t")[-1].bytes


@pytest.mark.parametrize("stated", [True, False])
def test_a_start_reads_no_file_if_the_receipts_say_what_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: bool
) -> None:
    corpus = write_shelves(tmp_path / "store", 6, stated=stated)
    expected = [(group.path, group.number) for group in corpus.row_groups("s2t")]
    read = Bytes(monkeypatch)
    again = type(corpus).open(f"{tmp_path}/store")
    source = Source(again, sized_reading(), hold_out(again, "s2t", 0.05), CONFIG)
    source.training(SEED)
    assert [(group.path, group.number) for group in again.row_groups("s2t")] == expected
    assert read.count == 0, "or this process has read them before"


def test_a_start_from_a_bucket_makes_as_many_requests_for_a_large_corpus(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists of receipts hold thousands of shards each."""
    counts: list[int] = []
    for files in (8, 24):
        write_shelves(f"{s3_bucket}/{files}", files, 300)
        requests = Requests(monkeypatch)
        corpus = Corpus.open(f"{s3_bucket}/{files}")
        made = Source(corpus, sized_reading(), hold_out(corpus, "s2t", 0.05), CONFIG).training(SEED)
        counts.append(requests.count)
        assert next(made).num_examples
        made.close()
    assert counts[0] == counts[1] <= 5


class Requests:
    """Counts requests to stores."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for kind in ("get", "head", "get_range", "list"):
            monkeypatch.setattr(obstore, kind, self._counted(getattr(obstore, kind)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            return call(*arguments, **options)

        return counted
