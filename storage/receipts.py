"""Outputs of work units: data files, then a receipt. A work unit is done when its receipt and all its files exist."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from storage.errors import CorruptStore, NotFound
from storage.records import read_sealed, sealed, typed
from storage.schemas import LABELS, TRAINING
from storage.store import Store
from storage.tables import checked_name, rows_to_parquet

RECEIPT_FORMAT = 1


@dataclass(frozen=True)
class DataFile:
    """One Parquet file.

    Attributes:
        table: key of `storage.schemas.SCHEMAS`.
        path: path in the store.
        rows: number of rows.
        bytes: size in bytes.
        sha256: SHA-256 of the file, hexadecimal.
    """

    table: str
    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Receipt:
    """Record of the output of one work unit of one step.

    Attributes:
        fingerprint: hash of everything that the output depends on.
        step: name of the step.
        files: in the order of writing; then those of earlier work units that belong to the output as they are.
        rows_in: rows of the work unit.
        rows_out: rows that were not rejected.
        rejects: number of rejected rows by reason.
        stats: JSON facts of the step.
    """

    fingerprint: str
    step: str
    files: tuple[DataFile, ...]
    rows_in: int
    rows_out: int
    rejects: dict[str, int]
    stats: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The receipt as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Receipt":
        """Return the receipt of `to_dict`'s values.

        Raises:
            pydantic.ValidationError: the values are not a receipt.
        """
        return _RECEIPT.validate_python(values)


_RECEIPT = TypeAdapter(Receipt)
_FIELDS = {"format", *(field.name for field in fields(Receipt))}


def data_path(table: str, fingerprint: str, data: bytes) -> str:
    """Path of a table of a work unit.

    Checksums of the contents are part of the name: reads are checked against them, and if another machine rounds
    differently, its file does not replace one that a version already refers to.
    """
    folder = f"training/{table}" if table in (*TRAINING, LABELS) else f"data/{table}"
    return f"{folder}/{checked_name(fingerprint, data)}"


def receipt_folder(step: str) -> str:
    """Folder of the receipts of a step."""
    return f"data/receipts/{step}"


def receipt_path(step: str, fingerprint: str) -> str:
    """Path of the receipt of a work unit."""
    return f"{receipt_folder(step)}/{fingerprint}.json"


def entries_path(fingerprint: str) -> str:
    """Path of the listed entries of a work unit of `ingest`; the receipt does not name it."""
    return f"data/items/{fingerprint}.jsonl"


def signatures_path(fingerprint: str) -> str:
    """Path of the signatures of these entries; they change while entries and contents stay."""
    return f"data/listings/{fingerprint}.json"


def write_output(
    store: Store,
    step: str,
    fingerprint: str,
    tables: Sequence[tuple[str, pa.Table]],
    *,
    rows_in: int,
    rows_out: int,
    rejects: Mapping[str, int],
    stats: Mapping[str, Any],
    kept: Sequence[DataFile] = (),
) -> Receipt:
    """Write the tables of a work unit, one file each, and the receipt last.

    Writing the same output again is harmless: the same rows make the same bytes under the same names.

    Args:
        store: the target.
        step: name of the step.
        fingerprint: hash of everything that the output depends on.
        tables: (table name, rows); a name may occur more than once.
        rows_in: rows of the work unit.
        rows_out: rows that were not rejected.
        rejects: number of rejected rows by reason.
        stats: JSON facts to keep.
        kept: files in the store that belong to the output as they are.

    Returns:
        The receipt.

    Raises:
        StorageError: a table does not match its schema, or the store refuses.
    """
    files: list[DataFile] = []
    for name, table in tables:
        data = rows_to_parquet(name, table)
        sha256 = hashlib.sha256(data).hexdigest()
        path = data_path(name, fingerprint, data)
        store.put(path, data)
        files.append(DataFile(name, path, table.num_rows, len(data), sha256))
    receipt = Receipt(fingerprint, step, (*files, *kept), rows_in, rows_out, dict(rejects), dict(stats))
    store.put(receipt_path(step, fingerprint), sealed({"format": RECEIPT_FORMAT, **receipt.to_dict()}))
    return receipt


def read_receipt(store: Store, step: str, fingerprint: str) -> Receipt | None:
    """Return the receipt of a finished work unit.

    None unless the receipt exists, is complete, belongs to this step and work unit, and all its files have their sizes.
    So output that was torn, misplaced or half removed is computed again.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    path = receipt_path(step, fingerprint)
    try:
        data = store.get(path)
    except NotFound:
        return None
    receipt = parse_receipt(data, store, path)
    if receipt is None or (receipt.step, receipt.fingerprint) != (step, fingerprint):
        return None
    return receipt if _intact(store, receipt.files) else None


def list_receipts(store: Store, step: str) -> set[str]:
    """Return the fingerprints of a step's work units that have a receipt; `read_receipt` checks whether it is valid.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    names = (path.rpartition("/")[2] for path in store.list(receipt_folder(step)))
    return {name.removesuffix(".json") for name in names if name.endswith(".json")}


def parse_receipt(data: bytes, store: Store, path: str) -> Receipt | None:
    """The receipt that a file holds; None if it is damaged or of another format."""
    url = store.url(path)
    try:
        values = read_sealed(data, url, _FIELDS)
        return typed(_RECEIPT, values, url) if values.get("format") == RECEIPT_FORMAT else None
    except CorruptStore:
        return None


def _intact(store: Store, files: Iterable[DataFile]) -> bool:
    try:
        return all(store.size(file.path) == file.bytes for file in files)
    except NotFound:
        return False
