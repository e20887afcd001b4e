"""Measure the cost of Prefect and Ray's job server: run the sample build directly, as a job, and as a Prefect flow.

    python benchmarks/orchestration.py [--repeats 3]

A Prefect server and a Ray cluster with a head and two workers are started on this machine first; their start is not
counted. Each build is a separate command, with all its imports, into a new folder. Times are wall seconds, the best of
the repeats; on a busy machine only the order of the rows is meaningful.
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

from tests.cluster.servers import ENVIRONMENT, PrefectServer, ray_cluster  # noqa: E402

COMMAND = [sys.executable, "-c", "from flows.cli import main; main()", "build", str(ROOT / "examples" / "sample.yaml")]


def main() -> None:
    """Start the servers, run the builds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
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


def seconds(arguments: list[str], environment: Mapping[str, str]) -> float:
    """Wall seconds of one build."""
    began = time.monotonic()
    subprocess.run([*COMMAND, *arguments], env={**os.environ, **environment}, check=True, capture_output=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
