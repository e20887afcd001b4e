"""Base class of steps, and `perform`, which computes one work unit, writes its tables and then its receipt."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Generic, TypeVar

import pyarrow as pa

from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.pools.decoded import Decoded
from pipelines.records import StepStatistics
from storage.receipts import DataFile, Receipt, write_output
from storage.schemas import SCHEMAS
from storage.store import Store
from unitlang.errors import AudioError

ADDED = {"added": True}
"""Metadata of a field that was added to a step later. Its default must mean the old behaviour; at the default, it is
left out of fingerprints, so that finished work stays valid."""
PayloadT = TypeVar("PayloadT", bound=Mapping[str, Any])
Process = Callable[[PayloadT], "Output"]
"""Turns the payload of a work unit into its output."""


@dataclass(frozen=True)
class WorkUnit(Generic[PayloadT]):
    """The smallest part of a step's work: it is computed, written and retried as a whole, and never computed twice.

    Attributes:
        fingerprint: name of the output; equal fingerprints mean equal bytes.
        payload: JSON values that name the input.
        seconds: seconds of source audio, for planning and progress.
        earlier: fingerprints of the same work under earlier revisions of the step, the last one first.
    """

    fingerprint: str
    payload: PayloadT
    seconds: float
    earlier: Sequence[str] = ()


@dataclass(frozen=True)
class Reject:
    """An utterance or an entry of a source that a step could not use, with the reason."""

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
        tables: (table name, rows) in a fixed order; each becomes one file.
        rows_in: number of input rows; must equal `rows_out` plus the number of rejects.
        rows_out: number of rows that the step could use.
        rejects: the other rows.
        stats: statistics for the receipt.
        kept: files of earlier work units that belong to the output as they are.
    """

    tables: list[tuple[str, pa.Table]]
    rows_in: int
    rows_out: int
    rejects: list[Reject] = field(default_factory=list[Reject])
    stats: StepStatistics = field(default_factory=StepStatistics)
    kept: list[DataFile] = field(default_factory=list[DataFile])


@dataclass(frozen=True)
class Step(ABC, Generic[PayloadT]):
    """Computation of tables from work units; subclasses are frozen dataclasses.

    The fields of a subclass must cover everything besides the input that affects the output; fingerprints include them.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    """Version of the code; increment it with every change that alters the bytes of the output. What an earlier one made
    stays in a corpus until somebody asks for it to be computed again, so later steps must understand it."""
    tables: ClassVar[tuple[str, ...]]
    """Tables that the step writes besides `rejects`; keys of `storage.schemas.SCHEMAS`."""
    decodes: ClassVar[bool] = False
    """Whether another process can decode for this step: see `decode`."""

    @abstractmethod
    def open(self, store: Store) -> Process[PayloadT]:
        """Load what all work units share (models, artifacts); return the function that computes one work unit.

        Each worker process calls it once.

        Raises:
            UserError, UnitlangError: a model cannot be loaded.
            StorageError: an artifact cannot be read.
        """

    def crash_rejects(self, store: Store, payload: PayloadT) -> list[Reject]:
        """One reject for each row of the input, to write if this row kills its worker; empty = cannot be split.

        A step that has them computes row i alone if its payload has `only: [i]`.

        Args:
            store: the corpus.
            payload: payload of a work unit.

        Raises:
            StorageError: the input cannot be read.
        """
        del store, payload
        return []

    def decode(self, store: Store, payload: PayloadT) -> Decoded:
        """Decode the audio that a work unit reads, for a process that then gets it as `decoded` in the payload.

        Only steps with `decodes` implement it.

        Raises:
            UserError: a file is missing or changed since it was ingested.
            StorageError: the input cannot be read.
        """
        raise NotImplementedError

    def work_unit(self, inputs: Any, payload: PayloadT, seconds: float) -> WorkUnit[PayloadT]:
        """A work unit of this step.

        Args:
            inputs: digests of the input; with the step's identity they make the fingerprint.
            payload: JSON values that name the input.
            seconds: seconds of source audio.
        """
        earlier = [fingerprint(*identity, inputs) for identity in self.earlier_identities()]
        return WorkUnit(fingerprint(*self.identity(), inputs), payload, seconds, earlier)

    def identity(self) -> tuple[str, int, dict[str, Any]]:
        """The part of fingerprints that the step determines: name, revision and the values of its fields."""
        old = {f.name for f in fields(self) if "added" in f.metadata and getattr(self, f.name) == f.default}
        return self.name, self.revision, {name: value for name, value in asdict(self).items() if name not in old}

    def earlier_identities(self) -> list[tuple[str, int, dict[str, Any]]]:
        """The identities of the earlier revisions of the step, the last one first."""
        name, revision, values = self.identity()
        return [(name, earlier, values) for earlier in range(revision - 1, 0, -1)]


def perform(step: Step[PayloadT], process: Process[PayloadT], store: Store, work_unit: WorkUnit[PayloadT]) -> Receipt:
    """Compute one work unit, check that every row is accounted for, write its tables and then the receipt.

    Args:
        step: the step.
        process: the function that `step.open` returned.
        store: the corpus; receives the output.
        work_unit: the work unit to compute.

    Raises:
        AssertionError: the step lost or duplicated a row, did not reject unusable audio, or wrote a table that it does
            not declare; nothing is written.
        StorageError: the output cannot be written.
        Exception: any failure of the step, with a note that names step, work unit and the command that repeats it.
    """
    name = work_unit.fingerprint
    with noted(f"step {step.name}, work unit {name}; run it alone: echox debug {store.uri} {step.name} {name}"):
        output = _output(process, work_unit.payload)
        if output.rows_in != output.rows_out + len(output.rejects):
            raise AssertionError(
                f"step {step.name}, work unit {name}: {output.rows_in} rows in, "
                f"{output.rows_out} out and {len(output.rejects)} rejected"
            )
        unknown = {table for table, _ in output.tables} - {*step.tables}
        if unknown:
            raise AssertionError(f"step {step.name} made tables that it does not declare: {', '.join(sorted(unknown))}")
    return write_output(
        store,
        step.name,
        name,
        tables_of(step, output),
        rows_in=output.rows_in,
        rows_out=output.rows_out,
        rejects=count_rejects(output.rejects),
        stats={**output.stats, "revision": step.revision},
        kept=output.kept,
    )


def _output(process: Process[PayloadT], payload: PayloadT) -> Output:
    """Compute a work unit; unusable audio is a reject, so an `AudioError` that leaves a step is a bug of the step."""
    try:
        return process(payload)
    except AudioError as error:
        raise AssertionError(f"the step neither uses nor rejects this audio: {error}") from error


def tables_of(step: Step[Any], output: Output) -> list[tuple[str, pa.Table]]:
    """Tables of a work unit in the order of its files: those of the step, then the rejects if there are any."""
    rejects = [("rejects", rejects_table(step.name, output.rejects))] if output.rejects else []
    return [*output.tables, *rejects]


@contextmanager
def noted(place: str) -> Generator[None]:
    """Add a note with the place, for instance the utterance, to any exception raised inside.

    Raises:
        Exception: the exception, with the note.
    """
    try:
        yield
    except Exception as error:
        error.add_note(f"in {place}")
        raise


def rejects_table(step: str, rejects: Sequence[Reject]) -> pa.Table:
    """Rejects of a step as rows of the table `rejects`."""
    return pa.Table.from_pylist([asdict(reject) | {"step": step} for reject in rejects], SCHEMAS["rejects"])


def count_rejects(rejects: Sequence[Reject]) -> dict[str, int]:
    """Number of rejects by reason, in alphabetical order."""
    return dict(sorted(Counter(reject.reason for reject in rejects).items()))
