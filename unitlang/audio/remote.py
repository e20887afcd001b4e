"""File systems of URLs through fsspec, and errors that tell the faults of a file from those of its server."""
# fsspec has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem

from unitlang.errors import Unreachable
from unitlang.urls import redacted

ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
"""Errors that say that there is no such file."""

_HTTP = re.compile(r"https?://", re.IGNORECASE)


def is_http(url: str) -> bool:
    """Return whether a URL names a file of an HTTP server."""
    return _HTTP.match(url) is not None


def file_system(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL, and the path in its notation.

    Raises:
        ValueError: no file system understands this URL.
        Unreachable: its server does not answer.
    """
    if is_http(url):
        from unitlang.audio.http import PatientHTTP  # 0.2 s that other sources need not pay

        scheme, colon, rest = url.partition(":")
        return PatientHTTP(), scheme.lower() + colon + rest
    if "::" in url:
        raise ValueError("a chain of URLs (`::`) is not supported; give the file's own URL")
    try:
        with remote(url):
            return cast("tuple[AbstractFileSystem, str]", url_to_fs(url))
    except Unreachable:
        raise
    except Exception as error:  # file systems check their URLs with errors of any class
        raise ValueError(f"no file system for this URL: {redacted(f'{type(error).__name__}: {error}')}") from error


@contextmanager
def remote(url: str) -> Generator[None]:
    """Turn the failures of a server and its connection into `Unreachable`; others pass, and those of paths.

    Raises:
        Unreachable: names the URL and the failure.
        FileNotFoundError, IsADirectoryError, NotADirectoryError: there is no such file.
        Exception: any other error, for instance of a malformed URL.
    """
    try:
        yield
    except (*ABSENT, Unreachable):
        raise
    except Exception as error:  # the clients behind fsspec share no base class
        if "://" not in url or not _is_failure(error):
            raise
        message = redacted(f"{type(error).__name__}: {error}")
        raise Unreachable(f"{redacted(url)}: {message}; build again to go on once that is mended") from error


def _is_failure(error: Exception) -> bool:
    """Whether an error is of the machine, the network or the server, not of the URL or the file."""
    if isinstance(error, ValueError):  # `requests` and `aiohttp` say so of malformed URLs
        return False
    kind = type(error)
    of_client = kind.__module__.partition(".")[0] in ("botocore", "aiohttp") and "Validation" not in kind.__name__
    return of_client or isinstance(error, OSError)
