"""A Ray to work on: this machine's own, or a cluster's."""

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
"""Only tasks and receipts pass through Ray's object store; rows go straight to the corpus store."""


@contextmanager
def connected(address: str | None, cpus: int | None) -> Generator[None]:
    """This process as the driver of a Ray.

    Args:
        address: `HOST:PORT` of a cluster, `THIS_CLUSTER`, or None for one of this machine's own.
        cpus: of this machine that its own Ray may use; None = all.

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
    """Quiet, offline, with this machine's own packages, and with the token of clusters if this machine holds one."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Under `uv run`, Ray would upload the current folder and start every worker through uv.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    if has_token() and "ray" not in sys.modules:  # Ray has read the variable by then; later it decides by itself
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def has_token() -> bool:
    """Whether there is a token; a cluster asks for one unless it was told not to."""
    named = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    return named or Path("~/.ray/auth_token").expanduser().exists()


def check_address(address: str) -> None:
    """Refuse what is no address of a Ray cluster, or one where nothing listens, before anything is made.

    Raises:
        UserError: naming the remedy.
    """
    if not ADDRESS.fullmatch(address):
        raise UserError(f"--ray {address}: an address reads HOST:PORT, as `ray start` printed it, e.g. ray-head:6379")
    check_reachable(address)


def check_reachable(address: str) -> None:
    """Refuse a Ray address where nothing listens; Ray itself would wait for minutes.

    Raises:
        UserError: naming the remedy.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--ray {address}: no Ray cluster answers there ({error}); give host:port as `ray start` printed it"
        ) from error


def remove_left_behind() -> None:
    """Remove the files of Ray sessions whose build was killed; their names tell whose they are."""
    for folder in Path(tempfile.gettempdir()).glob(f"{TEMP_PREFIX}*-*"):
        owner = folder.name.removeprefix(TEMP_PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)
