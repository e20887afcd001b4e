"""Prove that forgotten speech is absent from a store: from all its files, also those that no version refers to."""

import html
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.forget.traces import Traces
from pipelines.sources.screen import content_of
from pipelines.steps.ingest import normalise_text
from storage.s3 import Listed
from storage.store import Store
from storage.suppression.lists import FOLDER, digest_of
from storage.verify import in_threads

LISTS = f"{FOLDER}/"
SAMPLES = "data/sample_features/"
"""Features of a sample of the speech: they do not say whose they are."""
UTTERANCES = "data/utterances/"
ITEMS = "data/items/"
BATCH_ROWS = 256
"""Rows of a table that are unpacked at a time."""


@dataclass(frozen=True)
class Searched:
    """Traces that were found in a file.

    Attributes:
        path: path of the file in the store.
        rows: rows of a table; 0 for another file.
        found: number of values with a trace, by what it is: id, text, audio, features.
    """

    path: str
    rows: int
    found: Counter[str]


def said_by_others(store: Store, traces: Traces) -> set[str]:
    """Digests of the forgotten texts that other utterances and entries of the store say too.

    Raises:
        StorageError: the store does not answer.
    """
    if not traces.digests.texts:
        return set()
    paths = [path for folder in (UTTERANCES, ITEMS) for path in store.list(folder.rstrip("/"))]
    found = in_threads(partial(_others, store, path, traces) for path in paths)
    return {digest for of_file in found for digest in of_file}


def search(store: Store, traces: Traces) -> Iterator[Searched]:
    """Yield each file of a store with the traces in it, suppression lists apart.

    Every row of every table is looked at, and every value in files of JSON, HTML and text. Memory: a few files.

    Raises:
        StorageError: the store does not answer.
    """
    files = sorted((file for file in store.listed() if not file.path.startswith(LISTS)), key=lambda file: file.path)
    return in_threads(partial(_searched, store, file, traces) for file in files)


def _others(store: Store, path: str, traces: Traces) -> set[str]:
    rows = _rows_of(store, path) if path.endswith(".parquet") else _entries(store, path)
    texts = (normalise_text(row.get("text")) for row in rows if not _is_theirs(row, traces))
    return {digest_of(text) for text in texts if text} & traces.digests.texts


def _entries(store: Store, path: str) -> Iterator[dict[str, Any]]:
    return (json.loads(line)["item"] for line in store.get(path).splitlines())


def _rows_of(store: Store, path: str) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(pa.BufferReader(store.get(path))).iter_batches(BATCH_ROWS):
        yield from batch.to_pylist()


def _is_theirs(row: dict[str, Any], traces: Traces) -> bool:
    """Whether a row of a table or an entry is forgotten speech, by its id or by its content."""
    name = row.get("utterance_id")
    if name and traces.digests.withdraws(name):
        return True
    return "checksum" in row and content_of(row) in traces.digests.contents  # pyright: ignore[reportArgumentType]


def _searched(store: Store, file: Listed, traces: Traces) -> Searched:
    found: Counter[str] = Counter()
    if file.path.startswith(SAMPLES) and _is_older(file, traces):
        found["features"] += 1
    found.update(traces.in_text(file.path))
    data = store.get(file.path)
    if not file.path.endswith(".parquet"):
        found.update(_in_file(file.path, data, traces))
        return Searched(file.path, 0, found)
    rows = 0
    try:
        for batch in pq.ParquetFile(pa.BufferReader(data)).iter_batches(BATCH_ROWS):
            rows += batch.num_rows
            found.update(_in_batch(batch, traces, spoken=file.path.startswith(UTTERANCES)))
    except (pa.ArrowException, OSError):
        found["unreadable table"] += 1
    return Searched(file.path, rows, found)


def _is_older(file: Listed, traces: Traces) -> bool:
    """Whether a file was written before the speech was forgotten, in whole seconds."""
    return bool(traces.since) and file.modified < datetime.fromisoformat(traces.since) + timedelta(seconds=1)


def _in_batch(batch: pa.RecordBatch, traces: Traces, *, spoken: bool) -> Iterator[str]:
    """Yield the traces in rows of a table; `spoken` rows are those of the table `utterances`."""
    for row in batch.to_pylist():
        kinds = set(traces.in_values([value for value in row.values() if isinstance(value, str | bytes | dict)]))
        if spoken:
            kinds -= set() if _is_theirs(row, traces) else {"text"}
            kinds |= {"audio"} if content_of(row) in traces.digests.contents else set()
        yield from kinds


def _in_file(path: str, data: bytes, traces: Traces) -> Iterable[str]:
    """The traces in a file that is no table."""
    if traces.in_bytes(data):
        yield "audio"
    for values in _values(path, data):
        yield from traces.in_values(values)


def _values(path: str, data: bytes) -> Iterator[Any]:
    """Yield the values in a file: of JSON, of each line of JSON, or each line of another text."""
    text = data.decode("utf-8", "replace")
    try:
        if path.endswith(".json"):
            yield json.loads(text)
            return
        if path.endswith(".jsonl"):
            yield from [json.loads(line) for line in text.split("\n")]
            return
    except ValueError:
        pass
    yield from (html.unescape(line) for line in text.splitlines())
