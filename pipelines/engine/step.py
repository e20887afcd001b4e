"""Base class of steps: it counts rows, writes tables and leaves receipts."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Generic, TypeVar, cast

import pyarrow as pa

from pipelines.engine.fingerprint import fingerprint
from pipelines.records import StepStatistics
from storage.receipts import Receipt, write_output
from storage.schemas import SCHEMAS
from storage.store import Store

ADDED = {"added": True}
"""Metadata of a field that a step got later: at its default, which means what the step did before, it does not count in
fingerprints, so that work done before is not done again."""
PayloadT = TypeVar("PayloadT", bound=Mapping[str, Any])
Process = Callable[[PayloadT], "Output"]
"""Turns the payload of a work unit into its output."""


@dataclass(frozen=True)
class WorkUnit(Generic[PayloadT]):
    """The atom of computing: what one step does at once, writes together and never repeats.

    Attributes:
        fingerprint: name of the output; equal fingerprints mean equal bytes.
        payload: JSON values that name the input.
        seconds: seconds of audio behind it, for planning and progress.
    """

    fingerprint: str
    payload: PayloadT
    seconds: float


@dataclass(frozen=True)
class Reject:
    """An utterance, or an entry of a source, that a step could not use, with the reason."""

    dataset: str
    source: str
    reason: str
    message: str
    utterance_id: str | None = None
    source_key: bytes | None = None


@dataclass
class Output:
    """Result of one work unit.

    Attributes:
        tables: (table name, rows) in a fixed order; one file each.
        rows_in: input rows; must equal rows_out plus the rejects.
        rows_out: rows that the step could use.
        rejects: the other rows.
        stats: statistics that the receipt keeps.
    """

    tables: list[tuple[str, pa.Table]]
    rows_in: int
    rows_out: int
    rejects: list[Reject] = field(default_factory=list[Reject])
    stats: StepStatistics = field(default_factory=StepStatistics)


@dataclass(frozen=True)
class Step(ABC, Generic[PayloadT]):
    """Computation from work units to rows; subclasses are frozen dataclasses.

    The fields of a subclass are everything that its output depends on besides its input; they enter the fingerprint.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    """Raised by one with every change of the code that changes the output's bytes."""
    tables: ClassVar[tuple[str, ...]]
    """Tables that it writes, besides `rejects`; keys of `storage.schemas.SCHEMAS`."""

    @abstractmethod
    def open(self, store: Store) -> Process[PayloadT]:
        """Load what all work units share (models, artifacts) and return the function that computes one.

        Called once in every worker process.
        """

    def work_unit(self, inputs: Any, payload: PayloadT, seconds: float) -> WorkUnit[PayloadT]:
        """A work unit whose fingerprint covers this step, its fields and the digests in `inputs`."""
        return WorkUnit(fingerprint(*self.identity(), inputs), payload, seconds)

    def identity(self) -> tuple[str, int, dict[str, Any]]:
        """Name, revision and the values of all fields that count: the part of fingerprints that is the step's."""
        old = {f.name for f in fields(self) if "added" in f.metadata and getattr(self, f.name) == f.default}
        return self.name, self.revision, {name: value for name, value in asdict(self).items() if name not in old}


def perform(step: Step[PayloadT], process: Process[PayloadT], store: Store, work_unit: WorkUnit[PayloadT]) -> Receipt:
    """Compute one work unit, check that every row is accounted for, write its tables and then the receipt.

    Args:
        step: the step.
        process: what `step.open` returned.
        store: where the output goes.
        work_unit: what to compute.

    Raises:
        AssertionError: the step lost or doubled a row; nothing is written then.
        Exception: any failure of the step, with a note that names step and work unit, and how to run it again.
    """
    name, store_uri = work_unit.fingerprint, store.uri
    with noted(f"step {step.name}, work unit {name}; run it alone: echox debug {store_uri} {step.name} {name}"):
        output = process(work_unit.payload)
        if output.rows_in != output.rows_out + len(output.rejects):
            raise AssertionError(
                f"step {step.name}, work unit {work_unit.fingerprint}: {output.rows_in} rows in, "
                f"{output.rows_out} out and {len(output.rejects)} rejected"
            )
    unknown = {name for name, _ in output.tables} - {*step.tables}
    if unknown:
        raise AssertionError(f"step {step.name} wrote tables that it does not declare: {', '.join(sorted(unknown))}")
    tables = list(output.tables)
    if output.rejects:
        tables.append(("rejects", rejects_table(step.name, output.rejects)))
    return write_output(
        store,
        step.name,
        work_unit.fingerprint,
        tables,
        rows_in=output.rows_in,
        rows_out=output.rows_out,
        rejects=count_rejects(output.rejects),
        stats=cast(Mapping[str, Any], output.stats),
    )


@contextmanager
def noted(place: str) -> Generator[None]:
    """Add to any exception a note that says where it happened, for instance in which utterance."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in {place}")
        raise


def rejects_table(step: str, rejects: Sequence[Reject]) -> pa.Table:
    """The rows of the `rejects` table."""
    return pa.Table.from_pylist([asdict(reject) | {"step": step} for reject in rejects], SCHEMAS["rejects"])


def count_rejects(rejects: Sequence[Reject]) -> dict[str, int]:
    """Rejects by reason, in alphabetical order."""
    return dict(sorted(Counter(reject.reason for reject in rejects).items()))
