"""A Prefect server and a Ray cluster of several nodes on this machine, to test, to measure and to show with."""

import json
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

from pipelines.engine.pools.growth import LABEL
from pipelines.engine.ray import kill_processes

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


FAKE_HEAD = "f" * 51 + "00000"
"""Id of the head that Ray's provider of fake nodes expects."""


@contextmanager
def growing_cluster(folder: Path, groups: dict[str, dict[str, float]], nodes: int) -> Iterator[str]:
    """Address of a Ray cluster of a head without CPUs, whose autoscaler adds local processes as nodes.

    `ray.cluster_utils.AutoscalingCluster` is the same, but stops every other Ray of the machine.

    Args:
        folder: empty folder with a short path.
        groups: resources of a node of each group of workers.
        nodes: most nodes of each group; labels of the head say how much that is.
    """
    import ray._private.services

    (folder / "ray").mkdir(parents=True)
    address = f"{ray._private.services.get_node_ip_address()}:{free_port()}"
    kinds = {
        name: {"resources": {"object_store_memory": 80 << 20, **resources}, "min_workers": 0, "max_workers": nodes}
        for name, resources in groups.items()
    }
    kinds["ray.head.default"] = {"resources": {"CPU": 0}, "max_workers": 0}
    provider = {"type": "fake_multinode", "head_node_id": FAKE_HEAD, "gcs_address": address, "launch_multiple": True}
    provider |= dict.fromkeys(("use_node_id_as_ip", "disable_node_updaters", "disable_launch_config_check"), True)
    lists = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    config = {
        "cluster_name": "growing",
        "max_workers": nodes * len(groups),
        "provider": provider,
        "available_node_types": {name: {"node_config": {}, **kind} for name, kind in kinds.items()},
        "head_node_type": "ray.head.default",
        "idle_timeout_minutes": 0.2,  # shorter, nodes go before their workers are there
        "upscaling_speed": 10,
        "file_mounts_sync_continuously": False,
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
        **{f"{name}_commands": [] for name in lists},
    }
    (folder / "groups.json").write_text(json.dumps(config))
    most = {name: sum(group.get(name, 0) for group in groups.values()) * nodes for name in ("CPU", "GPU")}
    command = [Path(sys.executable).parent / "ray", "start", "--head", f"--port={address.rpartition(':')[2]}"]
    command += [f"--autoscaling-config={folder / 'groups.json'}", "--num-cpus=0", "--include-dashboard=false"]
    command += [f"--labels={','.join(f'{LABEL}{name}={amount:g}' for name, amount in most.items())}"]
    command += [f"--temp-dir={folder / 'ray'}", f"--object-store-memory={80 << 20}", "--disable-usage-stats"]
    fakes = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    with patch.dict(os.environ, {"RAY_TMPDIR": str(folder), **fakes}):
        try:
            subprocess.run(command, check=True, capture_output=True)
            yield address
        finally:
            kill_processes(str(folder))


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
