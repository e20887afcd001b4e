"""What a step is: a configuration and one function from a work unit to rows. All else is the base's."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from pipelines.engine.fingerprint import fingerprint
from storage.receipts import Receipt, write_output
from storage.schemas import SCHEMAS
from storage.store import Store

Payload = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """One work unit of one step.

    Attributes:
        fingerprint: names the output; equal fingerprints mean equal bytes.
        payload: JSON values that tell the step what to read.
        seconds: seconds of audio behind it, to plan and to show progress with.
    """

    fingerprint: str
    payload: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Reject:
    """An utterance (or an entry of a source) that a step could not use, and why."""

    dataset: str
    source: str
    reason: str
    message: str
    utterance_id: str | None = None
    source_key: bytes | None = None


@dataclass
class Output:
    """What a step makes of one work unit.

    Attributes:
        tables: (table name, rows) in a fixed order; one file each.
        rows_in: rows that came in; must equal rows_out plus the rejects.
        rows_out: rows that went on.
        rejects: the others.
        stats: JSON facts that the receipt keeps.
    """

    tables: list[tuple[str, pa.Table]]
    rows_in: int
    rows_out: int
    rejects: list[Reject] = field(default_factory=list[Reject])
    stats: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Step(ABC):
    """Base of the steps; a subclass is a frozen dataclass of what its output depends on besides its input."""

    name: ClassVar[str]
    revision: ClassVar[int]
    """Raised by one with every change of the code that changes the output's bytes."""

    @abstractmethod
    def open(self, store: Store) -> Callable[[Payload], Output]:
        """Load what all work units share (models, artifacts) and return the function that does one.

        Called once in every worker process.
        """

    def task(self, inputs: Any, payload: dict[str, Any], seconds: float) -> Task:
        """A task whose fingerprint covers this step, its configuration and the digests in `inputs`."""
        name = fingerprint(self.name, self.revision, asdict(self), inputs)
        return Task(name, payload, seconds)


def perform(step: Step, process: Callable[[Payload], Output], store: Store, task: Task) -> Receipt:
    """Do one work unit: compute, check that every row is accounted for, write, leave the receipt.

    Raises:
        AssertionError: when the step lost or doubled a row; nothing is written then.
    """
    output = process(task.payload)
    if output.rows_in != output.rows_out + len(output.rejects):
        raise AssertionError(
            f"step {step.name}, work unit {task.fingerprint}: {output.rows_in} rows in, "
            f"{output.rows_out} out and {len(output.rejects)} rejected"
        )
    tables = list(output.tables)
    if output.rejects:
        tables.append(("rejects", rejects_table(step.name, output.rejects)))
    return write_output(
        store,
        step.name,
        task.fingerprint,
        tables,
        rows_in=output.rows_in,
        rows_out=output.rows_out,
        rejects=count_rejects(output.rejects),
        stats=output.stats,
    )


def rejects_table(step: str, rejects: Sequence[Reject]) -> pa.Table:
    """The rows of the `rejects` table."""
    return pa.Table.from_pylist([asdict(reject) | {"step": step} for reject in rejects], SCHEMAS["rejects"])


def count_rejects(rejects: Sequence[Reject]) -> dict[str, int]:
    """Rejects by reason, in alphabetical order."""
    return dict(sorted(Counter(reject.reason for reject in rejects).items()))
