"""Errors of a store; every message names the place and the remedy."""

import re

_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#]*@")
_PARAMETER = re.compile(r"([?&][^\s=&?#]+=)[^\s&#'\")]+")


class StorageError(ValueError):
    """A mistake or a failure outside the program: no such store, no access, a full disk, no such version.

    User, password and the values of parameters in URLs of the message are hidden: people mistype URLs, and the clients
    of servers repeat them.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(_PARAMETER.sub(r"\1***", _USER.sub(r"\1***@", message)))


class Unavailable(StorageError):  # noqa: N818
    """A store does not answer, even after retries; it may later."""


class NotFound(StorageError):  # noqa: N818 - reads as what it says
    """The store has no file of that name."""


class AlreadyExists(StorageError):  # noqa: N818
    """A file of that name exists, so `Store.create` did not write it."""


class CommitConflict(StorageError):  # noqa: N818
    """Another build committed the version first."""


class CorruptStore(StorageError):  # noqa: N818
    """A file of the store differs from what was written."""


RESTORE = "restore it from a copy"
"""Remedies for a file that cannot be computed again."""


def damaged(url: object, fault: str, store: str) -> CorruptStore:
    """The error of a file of a version that differs from what was written, with the remedy.

    Args:
        url: URL of the file.
        fault: what is wrong with it.
        store: URI of the store.
    """
    return CorruptStore(f"{url}: {fault}; {remedy(store)}")


def remedy(store: str) -> str:
    """Remedies for a file of a version that is missing or damaged."""
    return f"{RESTORE}, or compute it again: echox repair {store}"
