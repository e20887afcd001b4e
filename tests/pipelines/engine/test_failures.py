"""A failure names its place, in this process and from a worker, and leaves a record."""

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import pytest
from rich.console import Console

from pipelines.engine.answers import WorkUnitFailed, unpack
from pipelines.engine.execution import ExecutionConfig
from pipelines.engine.failures import read_failure
from pipelines.engine.session import Session
from pipelines.engine.step import Output, Process, Step, WorkUnit
from pipelines.engine.worker import Worker, pack
from storage.receipts import Receipt
from storage.store import Store


class Number(TypedDict):
    number: int


@dataclass(frozen=True)
class Divide(Step[Number]):
    """Fails for 0."""

    name: ClassVar[str] = "divide"
    revision: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = ()

    def open(self, store: Store) -> Process[Number]:
        def process(payload: Number) -> Output:
            _ = 1 // payload["number"]
            return Output([], 1, 1)

        return process


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


@pytest.fixture
def step() -> Divide:
    return Divide()


def fail(store: Store, step: Divide) -> Exception:
    work_units = [step.work_unit(number, Number(number=number), 1.0) for number in (2, 1, 0, 3)]
    with (
        Session(store, ExecutionConfig(), None, Console(file=io.StringIO())) as session,
        pytest.raises(ZeroDivisionError) as caught,
    ):
        session.run(step, work_units, speed=1.0)
    return caught.value


def test_a_failure_names_step_and_work_unit_and_the_command_that_repeats_it(store: Store, step: Divide) -> None:
    name = step.work_unit(0, Number(number=0), 1.0).fingerprint
    place, record = fail(store, step).__notes__
    assert place == f"in step divide, work unit {name}; run it alone: echox debug {store.uri} divide {name}"
    assert record == f"the work units that step divide had to compute are listed in {store.url('failures/divide.json')}"


def test_a_failure_is_recorded_with_all_that_it_had_to_do(store: Store, step: Divide) -> None:
    assert read_failure(store, "divide") is None
    fail(store, step)
    failure = read_failure(store, "divide")
    assert failure is not None
    assert Divide(**failure["step"]) == step
    units = [WorkUnit(**unit) for unit in failure["work_units"]]
    assert units == [step.work_unit(number, Number(number=number), 1.0) for number in (2, 1, 0, 3)]


def test_a_workers_failure_arrives_with_its_place_and_traceback(store: Store, step: Divide) -> None:
    work_unit = step.work_unit(0, Number(number=0), 1.0)
    row: dict[str, Any] = pack(step, store, work_unit)
    made = Worker()({name: [value] for name, value in row.items()})
    with pytest.raises(WorkUnitFailed) as caught:
        unpack({name: values[0] for name, values in made.items()})
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("ZeroDivisionError: integer division or modulo by zero (in step divide, work unit ")
    assert "_ = 1 // payload" in "\n".join(rest)


def test_a_workers_receipt_arrives(store: Store, step: Divide) -> None:
    row = pack(step, store, step.work_unit(1, Number(number=1), 1.0))
    made = Worker()({name: [value] for name, value in row.items()})
    receipt = unpack({name: values[0] for name, values in made.items()})
    assert isinstance(receipt, Receipt)
    assert json.loads(store.get(f"data/receipts/divide/{receipt.fingerprint}.json"))["rows_in"] == 1
    assert asdict(receipt)["step"] == "divide"
