"""Pools on a cluster that grows: nodes come for the work of a step, of the kind that it uses, and go again."""

import io
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.build.build import build
from pipelines.config.build import check_config
from pipelines.engine.execution import ExecutionConfig
from pipelines.engine.session import Session
from storage.store import Store
from tests.cluster.builds import files
from tests.cluster.nap import Nap
from tests.cluster.servers import RAY_TOKEN, growing_cluster, wait_for
from tests.speech import write_speech
from tests.unitlang.features.hubert_models import BASE, make_model

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600, func_only=True)]

NODES = 2
GROUPS: dict[str, dict[str, float]] = {"cpu": {"CPU": 2}, "gpu": {"CPU": 4, "GPU": 1}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster of no nodes besides its head that may grow to two of each group."""
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", **RAY_TOKEN})
    folder = Path(tempfile.mkdtemp(prefix="echox-grows-", dir="/tmp"))
    with growing_cluster(folder, GROUPS, NODES) as address:
        yield address
    shutil.rmtree(folder, ignore_errors=True)


class Watch:
    """Looks at the nodes of the cluster that this process is connected to.

    Attributes:
        most: largest number of nodes of each group that were there at once.
    """

    def __init__(self) -> None:
        self.most = {"cpu": 0, "gpu": 0}
        self._stop = threading.Event()

    def now(self) -> dict[str, int]:
        import ray

        resources = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        gpus = sum(1 for node in resources if node.get("GPU"))
        return {"cpu": len(resources) - gpus, "gpu": gpus}

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _watch(self) -> None:
        import ray

        while not self._stop.wait(0.5):
            if ray.is_initialized():
                self.most = {group: max(count, self.most[group]) for group, count in self.now().items()}


@pytest.mark.parametrize(
    ("gpu", "worth", "most"),
    [
        (False, 4, {"cpu": 2, "gpu": 0}),
        (True, 400, {"cpu": 0, "gpu": 2}),
        (True, 100, {"cpu": 0, "gpu": 1}),
    ],
)
def test_nodes_come_for_the_work_and_go(
    gpu: bool, worth: int, most: dict[str, int], cluster: str, tmp_path: Path
) -> None:
    """`worth` is the work in workers of one core; no field of the config says how many there are to be."""
    units = Nap(f"{gpu} {worth}").naps(30, 1.0)
    config = ExecutionConfig(ray_above_seconds=0)
    speed = len(units) / (worth * 60 * config.minutes_per_worker)
    store = Store.open(tmp_path / "store", create=True)
    watch = Watch()
    with Session(store, config, cluster, Console(file=io.StringIO())) as session:
        session.run(Nap("first"), Nap("first").naps(1, 0), speed=1e9)  # connects
        wait_for("the end of the nodes", lambda: not any(watch.now().values()), 90)
        with watch.watching():
            made = session.run(Nap(f"{gpu} {worth}"), units, speed=speed, gpu=gpu)
        wait_for("the end of the nodes", lambda: not any(watch.now().values()), 90)
    assert len(made) == len(units)
    # a node that goes may still be listed as alive when the next one comes
    assert {group: min(count, NODES) for group, count in watch.most.items()} == most


def test_a_default_build_gets_gpu_nodes_for_its_features_and_gives_the_same_bytes(cluster: str, tmp_path: Path) -> None:
    make_model(BASE).save_pretrained(tmp_path / "hubert")
    values: dict[str, Any] = {
        "sources": [{"kind": "folder", "path": str(write_speech(tmp_path / "speech", 12)), "dataset": "clips"}],
        "features": {"kind": "hubert", "checkpoint": str(tmp_path / "hubert"), "layer": 2},
        "quantizer": {"k": 20, "iterations": 5},
        "unit_language": {"vocab_size": 60},
        "work_units": {"minutes": 0.1, "items": 5},
    }
    watch = Watch()
    with watch.watching():
        grown = {**values, "store": str(tmp_path / "grown"), "run": {"ray_above_seconds": 0}}
        build(check_config(grown, "test", tmp_path), Console(quiet=True), cluster)
    alone = {**values, "store": str(tmp_path / "alone"), "run": {"ray_above_seconds": 1000}}
    build(check_config(alone, "test", tmp_path), Console(quiet=True))
    assert min(watch.most.values()) >= 1
    assert files(str(tmp_path / "grown")) == files(str(tmp_path / "alone"))
