"""The user error of the pipelines, and the user errors of all packages."""

from echox.errors import EchoxError
from storage.errors import StorageError, Unavailable
from unitlang.errors import UnitlangError, Unreachable


class UserError(ValueError):
    """A mistake in a config, a command or a source; the message names file, field and remedy. Exit code 2."""


USER_ERRORS = (UserError, StorageError, UnitlangError, EchoxError, Unreachable)
"""Errors that the packages raise for mistakes of the user and for stores or files that refuse."""
KINDS = {"user": UserError, "unavailable": Unavailable}
"""Classes that errors of another process are raised as here, by `kind_of`."""


def kind_of(error: Exception) -> str:
    """Classify an error: `unavailable` (a store or source may answer later), `user` or `failure` (the program's)."""
    if isinstance(error, (Unavailable, Unreachable)):
        return "unavailable"
    return "user" if isinstance(error, USER_ERRORS) else "failure"
