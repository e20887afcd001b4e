"""A Prefect server and a Ray cluster of several nodes on this machine, to test, to measure and to show with."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.error import URLError
from urllib.request import urlopen

import psutil

PATIENCE_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, ready: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until `ready` returns something true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < deadline, f"{what}: not after {seconds:.0f} s"
        time.sleep(0.1)
    return found


def answers(url: str) -> bool:
    try:
        urlopen(url, timeout=5).close()  # noqa: S310 - loopback
    except (URLError, OSError):
        return False
    return True


def kill(process: psutil.Process) -> None:
    """SIGKILL a process and all below it."""
    family = [process, *process.children(recursive=True)]
    for member in family:
        member.kill()
    psutil.wait_procs(family, timeout=10)


@dataclass
class PrefectServer:
    """A Prefect server with its database on disk, which can be killed and started again."""

    home: Path
    log: Path
    port: int = field(default_factory=free_port)
    process: psutil.Popen | None = None

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = psutil.Popen(command, stdout=self.log.open("ab"), stderr=subprocess.STDOUT)

    def ready(self) -> None:
        """Wait until it answers: a new database takes it many seconds."""
        wait_for("the Prefect server", lambda: answers(f"{self.api}/health"))

    def kill(self) -> None:
        assert self.process is not None
        kill(self.process)


@dataclass
class RayCluster:
    """A head that runs no work units, and workers that come and go."""

    nodes: Any
    address: str
    jobs: str
    workers: list[Any] = field(default_factory=list[Any])

    def add_worker(self, **options: Any) -> None:
        options = {"num_cpus": 1, "object_store_memory": 80 << 20, **options}
        self.workers.append(self.nodes.add_node(dashboard_agent_listen_port=free_port(), **options))
        self.nodes.wait_for_nodes()

    def kill_worker(self) -> None:
        """SIGKILL a worker node: its raylet and all that it had started."""
        worker = self.workers.pop()
        kill(psutil.Process(worker.all_processes["raylet"][0].process.pid))
        self.nodes.remove_node(worker, allow_graceful=False)


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    from ray.cluster_utils import Cluster

    # Ray's sockets lie below its folder, and their paths may not be long.
    folder = Path("/tmp") / f"echox-cluster-{os.getpid()}"  # noqa: S108
    ray = folder / "ray"
    ray.mkdir(parents=True)
    head = {
        "num_cpus": 0,
        "object_store_memory": 80 << 20,
        "include_dashboard": True,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": free_port(),
        "dashboard_agent_listen_port": free_port(),
        "temp_dir": str(ray),
    }
    # Jobs look for their cluster's address in its own folder; where it is not, they take any cluster of the machine.
    handler = signal.getsignal(signal.SIGTERM)  # a node sets its own
    with patch.dict(os.environ, RAY_TMPDIR=str(folder)):
        nodes = Cluster(initialize_head=True, head_node_args=head)
        cluster = RayCluster(nodes, str(nodes.address), f"http://127.0.0.1:{head['dashboard_port']}")
        cluster.add_worker()
        cluster.add_worker()
        yield cluster
        nodes.shutdown()
    signal.signal(signal.SIGTERM, handler)
    shutil.rmtree(folder, ignore_errors=True)


RAY_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""Ray keeps the token that it read first for as long as a process lives."""
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # A dead node is noticed in 5 s instead of 30 s.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
    "OMP_NUM_THREADS": "1",
}
