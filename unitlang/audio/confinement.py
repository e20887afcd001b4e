"""Servers that must not lead to others: those of sources that a build does not trust."""

from collections.abc import Iterable
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_confined: set[str] = set()


def confine(servers: Iterable[str], *, more: bool = False) -> None:
    """Let this process follow no redirect from these servers to another one.

    Args:
        servers: origins, as `origin`.
        more: besides those of before; otherwise these alone.
    """
    if not more:
        _confined.clear()
    _confined.update(servers)


def is_confined(server: str) -> bool:
    """Whether redirects from a server to another one are refused."""
    return server in _confined


def origin(url: str) -> str:
    """Scheme, host and port of the URL of an HTTP server.

    Raises:
        ValueError: it is no such URL.
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
