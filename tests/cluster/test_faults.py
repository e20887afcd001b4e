"""Builds on a cluster, with everything dying in turn: the corpus is that of an undisturbed build."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.cluster.builds import BUILD_SECONDS, Config, Files, Start, check_same, end, receipts
from tests.cluster.conftest import Site
from tests.cluster.servers import kill, wait_for

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(400, func_only=True),  # the servers have waits of their own
]


def test_a_worker_node_dies_in_quantize(site: Site, start: Start, undisturbed: Files) -> None:
    store = site.store("node")
    build = start(store)
    wait_for("a work unit", lambda: receipts(store, "quantize"), BUILD_SECONDS)
    site.ray.kill_worker()
    assert receipts(store, "quantize") < receipts(site.store("undisturbed"), "quantize"), "killed too late"
    site.ray.add_worker()
    end(build)
    check_same(store, undisturbed)


def test_a_ray_worker_dies_in_encode(site: Site, start: Start, undisturbed: Files) -> None:
    store = site.store("ray-worker")
    build = start(store, "run.ray_above_seconds=0")
    wait_for("a work unit", lambda: receipts(store, "encode"), BUILD_SECONDS)
    raylets = [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in site.ray.workers]
    workers = [child for raylet in raylets for child in raylet.children(recursive=True)]
    victim = next(worker for worker in workers if "MapWorker" in " ".join(worker.cmdline()))
    victim.kill()
    assert receipts(store, "encode") < receipts(site.store("undisturbed"), "encode"), "killed too late"
    end(build)
    check_same(store, undisturbed)


def test_s3_refuses_a_tenth_of_the_requests(site: Site, start: Start, undisturbed: Files) -> None:
    store = site.store("busy")
    site.s3.refuse, site.s3.refused = 0.1, 0
    try:
        end(start(store))
    finally:
        site.s3.refuse = 0.0
    assert site.s3.refused > 20
    check_same(store, undisturbed)


def test_the_prefect_server_is_away_for_half_a_minute(site: Site, start: Start, undisturbed: Files) -> None:
    store = site.store("server")
    build = start(store)
    wait_for("a work unit", lambda: receipts(store, "ingest"), BUILD_SECONDS)
    site.prefect.kill()
    time.sleep(30)
    site.prefect.start()
    end(build)
    check_same(store, undisturbed)


def test_a_mistake_is_told_as_without_a_cluster(site: Site, start: Start) -> None:
    said = end(start(site.store("mistake"), "quantizer.k=9000", "unit_language.vocab_size=9001"), code=2)
    assert "lower quantizer.k" in " ".join(said.split())
    assert "Traceback" not in said


def test_a_build_that_was_killed_finds_its_job_running(
    site: Site, values: Config, undisturbed: Files, start: Start
) -> None:
    store = site.store("attach")
    first = start(store)
    wait_for("a work unit", lambda: receipts(store, "ingest"), BUILD_SECONDS)
    kill(first)
    said = end(start(store))
    assert "was running already" in " ".join(said.split())
    check_same(store, undisturbed)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of so many bytes, where this process may mount one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_spill_disk_of_a_worker_does_no_harm(site: Site, start: Start, undisturbed: Files) -> None:
    with small_disk(site.folder / "spill", "1m") as disk:
        (disk / "full").write_bytes(bytes(2**20))
        store = site.store("spill")
        site.ray.kill_worker()
        site.ray.kill_worker()
        site.ray.add_worker(num_cpus=2, object_spilling_directory=str(disk))
        end(start(store))
        check_same(store, undisturbed)
        site.ray.kill_worker()
    site.ray.add_worker()
    site.ray.add_worker()


def test_a_full_disk_is_told_and_with_room_the_build_goes_on(site: Site, start: Start, undisturbed: Files) -> None:
    with small_disk(site.folder / "disk", "100k") as disk:
        store = str(disk / "store")
        said = " ".join(end(start(store), code=2).split())
        assert "No space left on device" in said
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        end(start(store))
        check_same(store, undisturbed)
