"""Measure the cost of Prefect and Ray's job server: run the sample build directly, as a job, and as a Prefect flow.

    python benchmarks/orchestration.py [--repeats 3]
    python benchmarks/orchestration.py --units 12_000    # instead: work units that do nothing, on four nodes of Ray

A Prefect server and a Ray cluster with a head and two workers are started on this machine first; their start is not
counted. Each build is a separate command, with all its imports, into a new folder. Times are wall seconds, the best of
the repeats; on a busy machine only the order of the rows is meaningful.

With `--units`, a step of that many work units runs on four nodes of one CPU each; a work unit writes an empty table and
its receipt. The table states what one costs, and how long the last ones take: unevenly fed workers would end late.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipelines.engine.execution import ExecutionConfig  # noqa: E402
from pipelines.engine.session import Session  # noqa: E402
from storage.store import Store  # noqa: E402
from tests.cluster.nap import Nap  # noqa: E402
from tests.cluster.servers import ENVIRONMENT, PrefectServer, ray_cluster  # noqa: E402

NODES = 4

COMMAND = [sys.executable, "-c", "from flows.cli import main; main()", "build", str(ROOT / "examples" / "sample.yaml")]


def main() -> None:
    """Start the servers, run the builds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--units", type=int, help="measure this many work units that do nothing")
    options = parser.parse_args()
    if options.units:
        many_units(options.units)
        return
    os.environ |= {name: value for name, value in ENVIRONMENT.items() if not name.startswith("AWS_")}
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as name, ray_cluster() as ray:
        folder = Path(name)
        os.environ["PREFECT_HOME"] = str(folder / "prefect")
        prefect = PrefectServer(folder / "prefect", folder / "prefect.log")
        prefect.start()
        prefect.ready()
        ways: dict[str, tuple[list[str], Mapping[str, str]]] = {
            "directly": ([], {}),
            "Prefect": ([], {"PREFECT_API_URL": prefect.api}),
            "a Ray job": (["--ray", ray.jobs], {}),
            "Prefect and a Ray job": (["--ray", ray.jobs], {"PREFECT_API_URL": prefect.api}),
        }
        best = dict.fromkeys(ways, float("inf"))
        for repeat in range(options.repeats):
            for number, (way, (arguments, environment)) in enumerate(ways.items()):
                store = folder / f"{number}-{repeat}"
                best[way] = min(best[way], seconds([*arguments, "--store", str(store)], environment))
        prefect.kill()
    table = Table("way", "wall s", "more than directly")
    for way, wall in best.items():
        table.add_row(way, f"{wall:.1f}", f"{wall - best['directly']:+.1f}")
    Console().print(table)


def many_units(count: int) -> None:
    """Run work units that do nothing on four nodes; print what one costs and when the last ones end."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(NODES):
        nodes.add_node(num_cpus=1)
    with tempfile.TemporaryDirectory() as name:
        config, console = ExecutionConfig(ray_above_seconds=0), Console(quiet=True)
        with Session(Store.open(name, create=True), config, nodes.address, console) as session:
            session.run(Nap("first"), Nap("first").naps(NODES, 0), speed=1.0)  # starts Ray, and imports
            began = time.time()
            session.run(Nap("many"), Nap("many").naps(count, 0), speed=1.0)
        receipts = [path.stat().st_mtime - began for path in Path(name, "data/receipts/nap").iterdir()]
        ended = sorted(seconds for seconds in receipts if seconds > 0)
    nodes.shutdown()
    table = Table("work units", "wall s", "first ends after s", "ms each, after the first", "s of the last 1 %")
    rest = (ended[-1] - ended[0]) / count
    table.add_row(
        f"{count:,}",
        f"{ended[-1]:.1f}",
        f"{ended[0]:.1f}",
        f"{1000 * rest:.1f}",
        f"{ended[-1] - ended[-max(1, count // 100)]:.2f}",
    )
    Console().print(table)


def seconds(arguments: list[str], environment: Mapping[str, str]) -> float:
    """Wall seconds of one build."""
    began = time.monotonic()
    subprocess.run([*COMMAND, *arguments], env={**os.environ, **environment}, check=True, capture_output=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
