"""Labels of stage echo that belong to a version: which models wrote them, with which settings, and their files.

A version is immutable, so its labels are kept beside it, as `labels/<version>/<name>.json`. They go when it goes.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter

from storage.receipts import DataFile, Receipt
from storage.records import read_sealed, sealed, typed
from storage.schemas import LABELS
from storage.store import Store
from storage.versions import Contents, contents_of

LABELS_FORMAT = 1
FOLDER = "labels"
_PATH = re.compile(rf"{FOLDER}/\d{{8,}}/(?P<name>[^/]+)\.json")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels that two models gave to the examples of one version.

    Attributes:
        name: fingerprint of the models and of the settings.
        version: number of the version.
        models: fingerprints of the weights by stage, `s2t` and `t2c`.
        folders: folders of the runs by stage, for people.
        settings: settings on which the labels depend.
        examples: paths of the version's files of examples, in their order.
        receipts: those of the work units that labelled these files.
        created: UTC, ISO 8601.
    """

    name: str
    version: int
    models: Mapping[str, str]
    folders: Mapping[str, str]
    settings: Mapping[str, Any]
    examples: tuple[str, ...]
    receipts: tuple[Receipt, ...]
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def contents(self) -> Contents:
        """Everything that the labels refer to."""
        return contents_of({"label": self.receipts}, ())

    @cached_property
    def files(self) -> dict[str, DataFile]:
        """Files of labels by the path of the file of examples that each belongs to."""
        receipts = zip(self.examples, self.receipts, strict=True)
        return {path: file for path, receipt in receipts for file in receipt.files if file.table == LABELS}

    @property
    def facts(self) -> dict[str, Any]:
        """Facts to show, as JSON values."""
        rejects = sum((Counter(receipt.rejects) for receipt in self.receipts), Counter[str]())
        return {
            "name": self.name,
            "version": self.version,
            "created": self.created,
            "examples": sum(receipt.rows_out for receipt in self.receipts),
            "rejects": dict(rejects),
            "folders": dict(self.folders),
            "settings": dict(self.settings),
        }


_LABELS = TypeAdapter(Labels)
_FIELDS = {"format", *(field.name for field in fields(Labels))}


def put_labels(store: Store, labels: Labels) -> None:
    """Write the record of labels; one of the same name is replaced.

    Raises:
        StorageError: the store refuses.
    """
    store.put(labels_path(labels.version, labels.name), sealed({"format": LABELS_FORMAT, **asdict(labels)}))


def find_labels(store: Store, version: int, name: str) -> Labels | None:
    """Return the labels of that name; None if the version has none.

    Raises:
        CorruptStore: their record is damaged.
        StorageError: the store does not answer or refuses.
    """
    return _read(store, version, name) if name in label_names(store, version) else None


def labels_of(store: Store, version: int) -> Iterator[Labels]:
    """Yield all labels of a version, in the order of their names.

    Raises:
        CorruptStore: a record is damaged.
        StorageError: the store does not answer or refuses.
    """
    return (_read(store, version, name) for name in label_names(store, version))


def label_names(store: Store, version: int) -> list[str]:
    """Names of the labels of a version, in alphabetical order."""
    paths = store.list(f"{FOLDER}/{version:08d}")
    return sorted(match["name"] for path in paths if (match := _PATH.fullmatch(path)))


def labels_path(version: int, name: str) -> str:
    """Path of the record of labels."""
    return f"{FOLDER}/{version:08d}/{name}.json"


def _read(store: Store, version: int, name: str) -> Labels:
    path = labels_path(version, name)
    url = store.url(path)
    values = read_sealed(store.get(path), url, _FIELDS)
    values.pop("format", None)
    return typed(_LABELS, values, url)
