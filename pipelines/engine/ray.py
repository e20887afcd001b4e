"""Connections to Ray: a local one on this machine, or a cluster."""

import fcntl
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.interruption import interruption, terminable

if TYPE_CHECKING:
    import psutil

THIS_CLUSTER = "auto"
"""The address of the cluster that runs this process."""
ADDRESS = re.compile(r"(ray://)?[^\s/]+:\d{1,5}")
CONNECT_SECONDS = 10.0
TEMP_PREFIX = "echox-ray-"
LOCK = "lock"
"""File in the folder of a local Ray that its driver keeps locked."""
ABANDONED_SECONDS = 86_400
KILL_SECONDS = 10.0
"""Longest time to wait for the end of Ray's processes, which are killed."""
LOOPBACK = "127.0.0.1"
NO_PORT = 0
"""Port of the dashboard that does not run: at the default port, that of another cluster may answer."""
CURRENT_CLUSTER = "ray/ray_current_cluster"
"""File in RAY_TMPDIR with the address of the cluster that Ray's tools and its processes find on this machine."""
TOKEN = Path("~/.ray/auth_token").expanduser()
SOCKET_BYTES = 107
"""Longest path of a socket on Linux."""
SOCKET_NAME = f"/{TEMP_PREFIX}12345678/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
LONGEST_PLACE = SOCKET_BYTES - len(SOCKET_NAME)
OBJECT_STORE_BYTES = 256 * 2**20
"""Small: only work units and receipts pass through Ray's object store; rows go directly to the corpus store."""
AUDIO_STORE_BYTES = 2 * 2**30
"""For a dozen work units of half an hour in float32."""


@contextmanager
def connected(address: str | None, cpus: int | None, holds_audio: bool = False) -> Generator[None]:
    """Connect this process to Ray as a driver.

    Args:
        address: `HOST:PORT` of a cluster, `THIS_CLUSTER`, or None for a local Ray on this machine.
        cpus: CPUs that a local Ray may use; None = all.
        holds_audio: whether decoded audio passes through a local Ray.

    Raises:
        UserError: no cluster answers at the address.
    """
    prepare()
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is not None:
        if address != THIS_CLUSTER:
            check_reachable(address)
        with interruptible():
            ray.init(address=address, **options)
            yield
        return
    with private_files(), session_folder() as folder, loopback_only(), itself_only(folder), interruptible(folder):
        options |= {"object_store_memory": AUDIO_STORE_BYTES if holds_audio else OBJECT_STORE_BYTES}
        options |= {"_temp_dir": f"{folder}/ray"}
        options |= {"include_dashboard": False, "dashboard_port": NO_PORT}
        ray.init(address="local", num_cpus=cpus or os.cpu_count(), _node_ip_address=LOOPBACK, **options)
        Path(folder, CURRENT_CLUSTER).write_text(ray.get_runtime_context().gcs_address)
        yield


@contextmanager
def interruptible(folder: str | None = None) -> Generator[None]:
    """Shut Ray down at the end; after SIGINT or SIGTERM to a command, kill the processes of a local Ray instead.

    Ray's threads may still run then, and shutting down under them crashes this process. So does the teardown of the
    interpreter, so the command leaves without it. A cluster ends what belongs to a driver that has gone.

    Args:
        folder: that of a local Ray.
    """
    import ray
    import ray._private.utils

    of_ray = ray._private.utils.set_sigterm_handler
    ray._private.utils.set_sigterm_handler = _left_alone  # Ray's handlers exit with 1 or 15
    interruption().abrupt = True
    try:
        with terminable():
            yield
    finally:
        ray._private.utils.set_sigterm_handler = of_ray
        if interruption().signal is None:
            ray.shutdown()
        elif folder is not None:
            kill_processes(folder)


def _left_alone(_: object) -> None:
    """Keep the handler of SIGTERM that is installed."""


def kill_processes(folder: str) -> None:
    """Kill all processes of the local Ray in a folder, and wait for their end.

    Those whose parents died have others, so they are known by the environment of `itself_only`; Ray's agents, which
    overwrite theirs, by their parents.
    """
    import psutil  # comes with Ray

    deadline = time.monotonic() + KILL_SECONDS
    while (left := _processes(folder)) and time.monotonic() < deadline:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=KILL_SECONDS)


def _processes(folder: str) -> "list[psutil.Process]":
    """The processes of the local Ray in a folder, except this."""
    import psutil

    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("RAY_TMPDIR") == folder and process.pid != os.getpid():
                found += [process, *process.children(recursive=True)]
    return found


@contextmanager
def private_files() -> Generator[None]:
    """Let no other user read the files that this process and its children make, among them Ray's token.

    A token that Ray has written before becomes private too.
    """
    before = os.umask(0o077)
    try:
        if TOKEN.exists() and TOKEN.stat().st_mode & 0o077:
            TOKEN.chmod(0o600)
        yield
    finally:
        os.umask(before)


@contextmanager
def loopback_only() -> Generator[None]:
    """Let all processes of a local Ray listen on the loopback interface only.

    Ray replaces a loopback address by that of the network interface, except where it is told, as on laptops, that no
    other machine ever joins; its processes are told by the environment.
    """
    from ray._private import ray_constants

    cluster = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = cluster


@contextmanager
def itself_only(folder: str) -> Generator[None]:
    """Let all processes of a local Ray that ask for "the cluster of this machine" find this Ray and no other.

    Ray looks at the environment, then in its folder for temporary files. Ray Train asks so whether its controller
    lives, and would end a healthy training where another cluster, which does not know the controller, answers.
    """
    with environment({"RAY_ADDRESS": None, "RAY_API_SERVER_ADDRESS": None, "RAY_TMPDIR": folder}):
        yield


@contextmanager
def environment(values: Mapping[str, str | None]) -> Generator[None]:
    """Set variables of the environment, or unset them (None), for a while."""
    before = {name: os.environ.pop(name, None) for name in values}
    os.environ |= {name: value for name, value in values.items() if value is not None}
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)
        os.environ |= {name: value for name, value in before.items() if value is not None}


@contextmanager
def session_folder() -> Generator[str]:
    """Make the folder of a local Ray, and lock it while it is in use; remove it and those that are left behind.

    Ray lets all users into the folder that it is given; so it gets one inside this, which only the owner enters.
    It lies in /tmp if the path of the folder for temporary files is too long for the sockets in it.
    """
    place = tempfile.gettempdir()
    place = place if len(place) <= LONGEST_PLACE else "/tmp"  # noqa: S108 - the folder has a random name and is private
    remove_left_behind(Path(place))
    with (
        tempfile.TemporaryDirectory(prefix=TEMP_PREFIX, dir=place, ignore_cleanup_errors=True) as folder,
        Path(folder, LOCK).open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def prepare() -> None:
    """Set Ray's environment: no usage statistics, no `uv run` hook, and token mode if this machine has a token."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Under `uv run`, Ray would upload the current folder and start every worker through uv.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    if has_token() and "ray" not in sys.modules:  # Ray has read the variable by then; later it decides by itself
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def has_token() -> bool:
    """Return whether this machine has a token; clusters require one unless configured otherwise."""
    named = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    return named or TOKEN.exists()


def check_address(address: str) -> None:
    """Refuse a malformed address of a Ray cluster, or one where nothing listens, before any output is written.

    Raises:
        UserError: with the remedy.
    """
    if not ADDRESS.fullmatch(address):
        raise UserError(f"--ray {address}: an address reads HOST:PORT, as `ray start` printed it, e.g. ray-head:6379")
    check_reachable(address)


def check_reachable(address: str) -> None:
    """Refuse a Ray address where nothing listens; Ray itself would wait for minutes.

    Raises:
        UserError: with the remedy.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--ray {address}: no Ray cluster answers there ({error}); give host:port as `ray start` printed it"
        ) from error


def remove_left_behind(place: Path) -> None:
    """Remove the folders of local Rays whose build was killed: nobody holds their lock.

    A lock holds across PID namespaces, where process ids mean nothing. A folder without a lock file may be one that
    is being made, so it stays unless it is a day old.
    """
    for folder in place.glob(f"{TEMP_PREFIX}*"):
        try:
            with (folder / LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # locked, or another user's
            continue
