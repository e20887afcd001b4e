"""Verify the labels of a version: checksums, counts, and that they belong to its examples."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from pipelines.reading import read_ahead
from pipelines.steps.fit_unit_language import load_unit_language
from storage.errors import StorageError
from storage.labels.kept import Labels, labels_of
from storage.receipts import DataFile, Receipt
from storage.schemas import LABELS
from storage.store import Store
from storage.tables import read_table
from storage.verify import checked_table
from storage.versions import Version

TABLE = "echo"


def problems_of_labels(store: Store, version: Version) -> Iterator[str]:
    """Yield one line for each fault of the labels of a version; none if it has no labels, or sound ones.

    Checksum, size and rows of each file are checked; that all examples of the version are labelled, in their order;
    and of each answer that its segments cover it, and that each has words of the unit language.
    """
    try:
        found = list(labels_of(store, version.number))
        words = load_unit_language(store, version.artifact("unit_language").fingerprint).vocab_size if found else 0
        examples = [file.path for file in version.files(TABLE)] if found else []
    except StorageError as error:
        yield str(error)
        return
    for labels in found:
        for path in sorted({*examples} ^ {*labels.files}):
            state = "is not labelled" if path in examples else "is no file of the version"
            yield f"labels {labels.name} of {version.uri}: {path} {state}"
        yield from _problems(store, labels, words)


def _problems(store: Store, labels: Labels, words: int) -> Iterator[str]:
    units = zip(labels.examples, labels.receipts, strict=True)
    faults = read_ahead(partial(faults_of, store, path, receipt, words) for path, receipt in units)
    return chain.from_iterable(faults)


def faults_of(store: Store, path: str, receipt: Receipt, words: int) -> list[str]:
    """Faults of the files of a work unit of `label`.

    Args:
        store: the store.
        path: file of the examples that it labelled.
        receipt: receipt of the work unit.
        words: number of words of the unit language.
    """
    faults = [_fault(store, path, file, receipt, words) for file in receipt.files]
    return [fault for fault in faults if fault]


def _fault(store: Store, path: str, file: DataFile, receipt: Receipt, words: int) -> str:
    try:
        table = checked_table(store, file)
        names = read_table(store, path, ["example_id"])["example_id"].to_pylist() if file.table == LABELS else []
    except StorageError as error:
        return str(error)
    if file.table != LABELS:
        return ""
    rows = table.to_pylist()
    if [row["example_id"] for row in rows] != names:
        return f"{file.path}: its rows are not those of {path}"
    if sum(row["answer"] is not None for row in rows) != receipt.rows_out:
        return f"{file.path}: {receipt.rows_out} of its rows should have an answer, others have"
    faulty = [row["example_id"] for row in rows if not _is_sound(row, words)]
    return f"{file.path}: {faulty[0]}: segments or words do not fit ({len(faulty)} such rows)" if faulty else ""


def _is_sound(row: Mapping[str, Any], words: int) -> bool:
    """Whether segments cover the answer but for its end, and each has its words, all of the unit language."""
    tokens: int = len(row["answer"] or (0,)) - 1
    written: Sequence[Sequence[int]] = row["words"]
    covered = sum(row["segments"]) == tokens and len(written) == len(row["segments"])
    return covered and all(0 <= word < words for of_segment in written for word in of_segment)
