"""A step that does nothing for a while."""

import time
from dataclasses import dataclass
from typing import ClassVar, TypedDict

import pyarrow as pa

from pipelines.engine.step import Output, Process, Step, WorkUnit
from storage.schemas import SCHEMAS
from storage.store import Store


class Rest(TypedDict):
    number: int
    seconds: float


@dataclass(frozen=True)
class Nap(Step[Rest]):
    """Sleeps, and writes an empty table."""

    name: ClassVar[str] = "nap"
    revision: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = ("units",)
    part: str = ""

    def open(self, store: Store) -> Process[Rest]:
        return self.sleep

    def sleep(self, payload: Rest) -> Output:
        time.sleep(payload["seconds"])
        return Output([("units", pa.Table.from_pylist([], SCHEMAS["units"]))], 0, 0)

    def naps(self, count: int, seconds: float) -> list[WorkUnit[Rest]]:
        return [self.work_unit(number, Rest(number=number, seconds=seconds), 1.0) for number in range(count)]
