"""One machine as a whole site: a Prefect server, a Ray cluster of a head and two workers, an S3 server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.request import Request, urlopen

import psutil
import pytest

from tests.cluster.builds import CLI, Config, Files, Running, Start, files, verify
from tests.cluster.proxy import FlakyProxy, flaky_proxy
from tests.cluster.servers import (
    ENVIRONMENT,
    RAY_TOKEN,
    PrefectServer,
    RayCluster,
    answers,
    free_port,
    kill,
    ray_cluster,
    wait_for,
)
from tests.speech import write_speech

ROOT = Path(__file__).parents[2]
BUCKET = "corpora"


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The servers; every process that a test starts inherits what leads to them."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch, moto(folder / "s3.log") as s3, flaky_proxy(s3) as proxy:
        os.environ.update(RAY_TOKEN)
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
            prefect.ready()
            yield Site(folder, prefect, ray, proxy)
        prefect.kill()


@pytest.fixture(scope="module")
def speech(site: Site) -> Path:
    return write_speech(site.folder / "speech", 40)


@pytest.fixture(scope="module")
def values(speech: Path) -> Config:
    """A build of some fifteen work units; its longest step, `quantize`, runs on Ray."""
    return {
        "sources": [{"kind": "folder", "path": str(speech), "dataset": "clips"}],
        "quantizer": {"k": 20, "iterations": 5, "sample_hours": 0.005},
        "unit_language": {"vocab_size": 60},
        "shards": {"hours": 0.005},
        "work_units": {"minutes": 0.09, "items": 8},
        "run": {"ray_above_seconds": 0.21},
    }


@pytest.fixture(scope="module")
def start(site: Site, values: Config) -> Start:
    """Starts `echox build` into a store, with its steps as jobs of a cluster; `changes` are those of `--set`."""
    numbers = count()

    def begin(store: str, *changes: str, ray: str | None = site.ray.jobs) -> Running:
        path = site.folder / f"build{next(numbers)}.yaml"
        path.write_text(json.dumps({**values, "store": store}))
        options = [option for change in changes for option in ("--set", change)]
        command = [*CLI, "build", str(path), *(["--ray", ray] if ray else []), *options]
        log = path.with_suffix(".log")
        with log.open("wb") as file:
            return Running(store, psutil.Popen(command, stdout=file, stderr=subprocess.STDOUT), log)

    return begin


@pytest.fixture(scope="module")
def undisturbed(site: Site, start: Start) -> Files:
    """The files of a corpus that nothing disturbed: one process made it, on a disk, without a cluster."""
    store = str(site.folder / "undisturbed")
    start(store, "run.ray_above_seconds=1000", ray=None).end()
    verify(store)
    return files(store)


@pytest.fixture(scope="module")
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
