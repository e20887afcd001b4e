"""Connections to Ray: a local one on this machine, or a cluster."""

import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.errors import UserError

THIS_CLUSTER = "auto"
"""The address of the cluster that runs this process."""
ADDRESS = re.compile(r"(ray://)?[^\s/]+:\d{1,5}")
CONNECT_SECONDS = 10.0
TEMP_PREFIX = "echox-ray-"
OBJECT_STORE_BYTES = 256 * 2**20
"""Small: only work units and receipts pass through Ray's object store; rows go directly to the corpus store."""


@contextmanager
def connected(address: str | None, cpus: int | None) -> Generator[None]:
    """Connect this process to Ray as a driver.

    Args:
        address: `HOST:PORT` of a cluster, `THIS_CLUSTER`, or None for a local Ray on this machine.
        cpus: CPUs that a local Ray may use; None = all.

    Raises:
        UserError: no cluster answers at the address.
    """
    prepare()
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is not None:
        if address != THIS_CLUSTER:
            check_reachable(address)
        ray.init(address=address, **options)
        try:
            yield
        finally:
            ray.shutdown()
        return
    remove_left_behind()
    with tempfile.TemporaryDirectory(prefix=f"{TEMP_PREFIX}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES, "_temp_dir": folder}
        ray.init(address="local", num_cpus=cpus or os.cpu_count(), **options)
        try:
            yield
        finally:
            ray.shutdown()


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
    return named or Path("~/.ray/auth_token").expanduser().exists()


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


def remove_left_behind() -> None:
    """Remove the files of Ray sessions whose build was killed; the folder names contain the process ids."""
    for folder in Path(tempfile.gettempdir()).glob(f"{TEMP_PREFIX}*-*"):
        owner = folder.name.removeprefix(TEMP_PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)
