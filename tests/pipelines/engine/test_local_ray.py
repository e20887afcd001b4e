"""A Ray of this machine: only this user reads its files, only this machine reaches its processes."""

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipelines.engine.ray import LOCK, TEMP_PREFIX, remove_left_behind, session_folder

LISTENING = """
import os, sys, psutil
from pathlib import Path
from pipelines.engine.ray import connected, TEMP_PREFIX
with connected(None, 1):
    import ray, ray.data
    class Same:
        def __call__(self, batch): return batch
    pool = ray.data.ActorPoolStrategy(size=1)
    ray.data.from_items([{"a": 1}]).map_batches(Same, batch_size=1, compute=pool).take_all()
    me = psutil.Process()
    ours = {process.pid for process in [me, *me.children(recursive=True)]}
    for place in psutil.net_connections("inet"):
        if place.status == psutil.CONN_LISTEN and place.pid in ours:
            print("LISTENS", place.laddr.ip)
    token = Path.home() / ".ray/auth_token"
    print("TOKEN", oct(token.stat().st_mode & 0o777) if token.exists() else "none")
    folder = Path(ray._private.worker._global_node.get_session_dir_path())
    print("SESSION", oct(folder.parents[1].stat().st_mode & 0o777), folder)
"""

ACTOR = """
from pipelines.engine.ray import connected
with connected(None, 1):
    import ray
    @ray.remote(num_cpus=0)
    class Actor:
        def state(self):
            from ray.util.state import get_actor
            from ray.util.state.exception import RayStateApiException
            try:
                return get_actor(ray.get_runtime_context().get_actor_id(), timeout=20)
            except RayStateApiException:
                return "unknown"
        def cluster(self):
            from ray._private.services import canonicalize_bootstrap_address_or_die
            return canonicalize_bootstrap_address_or_die(None)
    actor = Actor.remote()
    print("STATE", ray.get(actor.state.remote()))
    print("CLUSTER", ray.get(actor.cluster.remote()) == ray.get_runtime_context().gcs_address)
"""


def run_ray(home: Path, code: str = LISTENING, **environment: str) -> list[list[str]]:
    """Words of the lines that a process with a local Ray prints."""
    made = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=180,
    )
    return [line.split() for line in made.stdout.splitlines()]


@pytest.mark.slow
def test_a_local_ray_listens_on_loopback_and_keeps_its_files_private(tmp_path: Path) -> None:
    lines = run_ray(tmp_path)
    addresses = [words[1] for words in lines if words[0] == "LISTENS"]
    assert len(addresses) >= 5
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}
    (token,) = [words[1] for words in lines if words[0] == "TOKEN"]
    assert token in ("0o600", "none")
    (session,) = [words[1] for words in lines if words[0] == "SESSION"]
    assert session == "0o700"


@pytest.mark.slow
def test_actors_of_a_local_ray_ask_no_other_cluster(tmp_path: Path) -> None:
    """Ray Train ends a training whose controller the cluster that answers does not know."""
    from ray.cluster_utils import Cluster

    other = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": True})
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text(other.address)
    expected = [["STATE", "unknown"], ["CLUSTER", "True"]]
    try:
        assert run_ray(tmp_path, ACTOR, RAY_TMPDIR=str(tmp_path)) == expected
        assert run_ray(tmp_path, ACTOR, RAY_ADDRESS=other.address) == expected
    finally:
        other.shutdown()


@pytest.mark.slow
def test_a_long_folder_for_temporary_files_is_no_fault(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 20)
    long.mkdir()
    (session,) = [words for words in run_ray(tmp_path, TMPDIR=str(long)) if words[0] == "SESSION"]
    assert session[2].startswith("/tmp/")  # noqa: S108


def test_the_folder_of_a_living_build_stays_and_that_of_a_dead_one_goes(tmp_path: Path) -> None:
    living, dead, begun = (tmp_path / f"{TEMP_PREFIX}{name}" for name in ("living", "dead", "begun"))
    for folder in (living, dead, begun):
        folder.mkdir()
    (dead / LOCK).touch()
    with (living / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_left_behind(tmp_path)
        assert (living.exists(), dead.exists(), begun.exists()) == (True, False, True)
    os.utime(begun, (0, 0))
    remove_left_behind(tmp_path)
    assert (living.exists(), begun.exists()) == (False, False)


def test_a_killed_owner_loses_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner is another process, which the lock alone tells from a dead one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("pipelines.engine.ray.LONGEST_PLACE", 1000)
    hold = (
        "import pipelines.engine.ray as r; r.LONGEST_PLACE = 1000\n"
        "with r.session_folder() as folder: print(folder, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as owner:
        assert owner.stdout is not None
        held = Path(owner.stdout.readline().strip())
        with session_folder():
            assert held.exists()
        owner.kill()
        owner.wait()
    with session_folder():
        assert not held.exists()
