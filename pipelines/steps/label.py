"""Label the examples of stage echo: S2T's answers, cut into segments, with T2C's words of each.

It is no step of a build: it needs models that were trained on a version, and what it writes is kept beside the version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import pyarrow as pa

from echox.data.corpus import Corpus
from pipelines.engine.devices import prepare_device
from pipelines.engine.step import Output, Process, Reject, Step
from storage.schemas import LABELS, SCHEMAS
from storage.store import Store
from storage.tables import num_row_groups, read_row_group
from storage.versions import load

if TYPE_CHECKING:
    from echox.labelling import Labeller, TooLong
    from echox.labels.batch import Label as LabelOfExample

TOO_LONG = "too_long_for_model"
"""Reason of a reject: prompt and speech, or a segment of the answer, do not fit into a model's longest sequence."""
KEYS = ("example_id", "dataset")


class LabelPayload(TypedDict):
    """Payload of a work unit.

    Attributes:
        path: file of the table `echo`.
        version: number of a version with this file.
        runs: folders of the runs by stage; fingerprints of their weights are fields of the step.
        settings: FIELD=VALUE of stage echo.
    """

    path: str
    version: int
    runs: dict[str, str]
    settings: Sequence[str]


@dataclass(frozen=True)
class Label(Step[LabelPayload]):
    """Step from a file of the table `echo` to the labels of its rows.

    Attributes:
        models: fingerprints of S2T and T2C by stage.
        settings: settings of stage echo on which the labels depend.
        precision: `fp32`, or `bf16`.
        batch: examples that are answered together.
    """

    name: ClassVar[str] = "label"
    revision: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = (LABELS,)
    models: dict[str, str]
    settings: dict[str, Any]
    precision: str
    batch: int

    def open(self, store: Store) -> Process[LabelPayload]:
        """See `Step.open`; the models are loaded by the first work unit, which says where they are."""
        return _Labelling(store, self.batch)


class _Labelling:
    """Labels files with models that are loaded once."""

    def __init__(self, store: Store, batch: int) -> None:
        self._store = store
        self._batch = batch
        self._labeller: Labeller | None = None

    def __call__(self, payload: LabelPayload) -> Output:
        labeller = self._labeller = self._labeller or self._loaded(payload)
        made, columns = _Made(payload["path"]), list(dict.fromkeys((*KEYS, *labeller.columns)))
        for group in range(num_row_groups(self._store, made.path)):
            rows = read_row_group(self._store, made.path, group, columns).to_pylist()
            for row, label in zip(rows, labeller.label(rows), strict=True):
                made.add(row, label)
        return made.output()

    def _loaded(self, payload: LabelPayload) -> "Labeller":
        from echox.labelling import Labeller, open_labelling

        corpus = Corpus(self._store, load(self._store, payload["version"]))
        stage = open_labelling(corpus, payload["runs"], payload["settings"])
        return Labeller(stage, prepare_device()[0], self._batch)


@dataclass
class _Made:
    """The labels of a file so far.

    Attributes:
        path: the file of examples.
        rows: rows of the table of labels.
        rejects: examples that could not be labelled; their rows have no answer, so that all rows stay in their places.
    """

    path: str
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    rejects: list[Reject] = field(default_factory=list[Reject])

    def add(self, row: Mapping[str, Any], label: "LabelOfExample | TooLong") -> None:
        """Add the label of a row."""
        name, nothing = row["example_id"], {"answer": None, "segments": [], "words": []}
        if isinstance(label, tuple):
            self.rows.append({"example_id": name, **label._asdict()})
        else:
            self.rows.append({"example_id": name, **nothing})
            self.rejects.append(Reject(row["dataset"], self.path, TOO_LONG, label.message, name))

    def output(self) -> Output:
        """The output of the work unit."""
        table = pa.Table.from_pylist(self.rows, SCHEMAS[LABELS])
        count = len(self.rows)
        return Output([(LABELS, table)], count, count - len(self.rejects), self.rejects)
