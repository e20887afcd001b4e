"""What Ray reads from the environment when it is imported; call `prepare` before."""

import os
from pathlib import Path


def prepare() -> None:
    """Quiet, offline, with this machine's own packages, and with the token of clusters if this machine holds one."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Under `uv run`, Ray would upload the current folder and start every worker through uv.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    if has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def has_token() -> bool:
    """Whether there is a token; a cluster asks for one unless it was told not to."""
    named = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    return named or Path("~/.ray/auth_token").expanduser().exists()
