"""One machine as a whole site: a Prefect server, a Ray cluster of a head and two workers, an S3 server."""

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
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil
import pytest

from tests.cluster.proxy import FlakyProxy, flaky_proxy

ROOT = Path(__file__).parents[2]
BUCKET = "corpora"
PATIENCE_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, ready: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """What `ready` returns, as soon as it is true."""
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


@dataclass(frozen=True)
class Site:
    """All servers, and where things are."""

    folder: Path
    prefect: PrefectServer
    ray: RayCluster
    s3: FlakyProxy

    def store(self, name: str) -> str:
        return f"s3://{BUCKET}/{name}"


@contextmanager
def moto(log: Path) -> Iterator[str]:
    """URL of an S3 server in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = psutil.Popen(command, stdout=log.open("ab"), stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    wait_for("the S3 server", lambda: answers(f"{url}/moto-api/"))
    yield url
    kill(process)


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    from ray.cluster_utils import Cluster

    # Ray's sockets lie below its folder, and their paths may not be long.
    folder = Path("/tmp") / f"echox-cluster-{os.getpid()}"  # noqa: S108
    head = {
        "num_cpus": 0,
        "object_store_memory": 80 << 20,
        "include_dashboard": True,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": free_port(),
        "dashboard_agent_listen_port": free_port(),
        "temp_dir": str(folder),
    }
    nodes = Cluster(initialize_head=True, head_node_args=head)
    cluster = RayCluster(nodes, str(nodes.address), f"http://127.0.0.1:{head['dashboard_port']}")
    cluster.add_worker()
    cluster.add_worker()
    yield cluster
    nodes.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # A dead node is noticed in 5 s instead of 30 s.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The servers; every process that a test starts inherits what leads to them."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch, moto(folder / "s3.log") as s3, flaky_proxy(s3) as proxy:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # `python` of jobs
        patch.setenv("AWS_ENDPOINT_URL", proxy.url)
        patch.setenv("PREFECT_HOME", str(folder / "prefect"))
        urlopen(Request(f"{proxy.url}/{BUCKET}", method="PUT")).close()  # noqa: S310 - makes the bucket
        prefect = PrefectServer(folder / "prefect", folder / "prefect.log")
        patch.setenv("PREFECT_API_URL", prefect.api)
        prefect.start()
        with ray_cluster() as ray:
            yield Site(folder, prefect, ray, proxy)
        prefect.kill()


@pytest.fixture(scope="session")
def worker(site: Site) -> Iterator[psutil.Popen]:
    """A Prefect worker of the pool `echox`."""
    command = [sys.executable, "-m", "prefect"]
    subprocess.run([*command, "work-pool", "create", "echox", "--type", "process"], check=True, capture_output=True)
    log = (site.folder / "worker.log").open("ab")
    environment = {**os.environ, "PREFECT_WORKER_QUERY_SECONDS": "2"}
    start = [*command, "worker", "start", "--pool", "echox"]
    process = psutil.Popen(start, stdout=log, stderr=subprocess.STDOUT, env=environment)
    yield process
    process.send_signal(signal.SIGINT)
    try:
        process.wait(20)
    except psutil.TimeoutExpired:
        kill(process)
