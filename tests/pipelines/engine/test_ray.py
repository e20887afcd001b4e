"""Real Ray: the bytes do not depend on where or by how many the work was done."""

import io
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.build.commit import Built
from pipelines.engine.execution import ExecutionConfig
from pipelines.engine.session import Session
from pipelines.engine.step import Output, Process, Step
from pipelines.errors import UserError
from storage.schemas import SCHEMAS
from storage.store import Store

pytestmark = pytest.mark.slow
WORKERS = 4

Config = dict[str, Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a Ray cluster of a head and one more node, each with one CPU."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    yield str(nodes.address)
    nodes.shutdown()


def files(store: Path) -> dict[str, bytes]:
    """Contents of every file that the corpus consists of."""
    paths = [path for folder in ("data", "training", "artifacts") for path in (store / folder).rglob("*")]
    return {str(path.relative_to(store)): path.read_bytes() for path in paths if path.is_file()}


def test_one_worker_and_two_on_two_nodes_give_the_same_bytes(
    config: Config, run_build: Callable[..., Built], tmp_path: Path, cluster: str
) -> None:
    run_build({**config, "store": str(tmp_path / "one")})
    run_build({**config, "store": str(tmp_path / "two"), "run": {"workers": 2, "ray_above_seconds": 0}}, cluster)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_failure_in_a_worker_ends_the_build_with_its_cause(
    config: Config, run_build: Callable[..., Built], cluster: str
) -> None:
    run_build(config)
    store = Path(config["store"])
    for receipt in (store / "data" / "receipts" / "encode").iterdir():
        receipt.unlink()
    for path in (store / "artifacts" / "unit_language").rglob("unit_language.model"):
        path.write_bytes(b"damaged")
    next((store / "manifests").iterdir()).unlink()
    with pytest.raises(Exception, match="is not what was written"):
        run_build({**config, "run": {"ray_above_seconds": 0}}, cluster)


def test_an_address_where_nobody_listens_is_said_at_once(config: Config, run_build: Callable[..., Built]) -> None:
    with pytest.raises(UserError, match="no Ray cluster answers there"):
        run_build({**config, "run": {"ray_above_seconds": 0}}, "127.0.0.1:1")


class Rest(TypedDict):
    number: int
    seconds: float


@dataclass(frozen=True)
class Doze(Step[Rest]):
    """Sleeps a tenth of the length of a work unit, and notes who did; the first work units wait for all workers.

    Attributes:
        diary: folder of the notes; `workers` in it notes who is there.
    """

    name: ClassVar[str] = "doze"
    revision: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = ("units",)
    diary: str

    def open(self, store: Store) -> Process[Rest]:
        workers = Path(self.diary, "workers")
        (workers / str(os.getpid())).touch()
        while len([*workers.iterdir()]) < WORKERS:
            time.sleep(0.05)
        return self.sleep

    def sleep(self, payload: Rest) -> Output:
        time.sleep(payload["seconds"] / 10)
        Path(self.diary, str(payload["number"])).write_text(f"{os.getpid()} {payload['seconds']}")
        return Output([("units", pa.Table.from_pylist([], SCHEMAS["units"]))], 0, 0)


def test_the_longest_work_units_begin_first_and_nothing_waits_behind_them(tmp_path: Path) -> None:
    """Four workers share 300 s of work of which one unit takes 80: none has more than a fair share and one unit."""
    (tmp_path / "diary" / "workers").mkdir(parents=True)
    lengths = [5.0] * 8 + [50.0, 40.0, 40.0, 50.0] + [80.0]
    step = Doze(str(tmp_path / "diary"))
    units = [
        step.work_unit(number, Rest(number=number, seconds=length), length) for number, length in enumerate(lengths)
    ]
    config = ExecutionConfig(workers=WORKERS, ray_above_seconds=0)
    console = Console(file=io.StringIO())
    with Session(Store.open(tmp_path / "store", create=True), config, None, console) as session:
        assert [receipt.fingerprint for receipt in session.run(step, units, speed=1.0)] == [
            u.fingerprint for u in units
        ]
    loads: Counter[str] = Counter()
    for note in (path for path in (tmp_path / "diary").iterdir() if path.is_file()):
        worker, seconds = note.read_text().split()
        loads[worker] += float(seconds)
    assert len(loads) == WORKERS
    assert max(loads.values()) <= 90, f"{loads}: the longest work unit begins first, and alone"
