"""The user's mistakes as the pipelines see them."""

from echox.errors import EchoxError
from storage.errors import StorageError, Unavailable
from unitlang.errors import UnitlangError


class UserError(ValueError):
    """A mistake in a config, a command or a source; the message names file, field and remedy. Exit code 2."""


USER_ERRORS = (UserError, StorageError, UnitlangError, EchoxError)
"""What the packages raise for mistakes of the user, and for places of theirs that refuse."""
KINDS = {"user": UserError, "unavailable": Unavailable}
"""How those of another process arrive here, by `kind_of`."""


def kind_of(error: Exception) -> str:
    """Whose fault it is: that of a store which may answer later, the user's, or the program's (`failure`)."""
    if isinstance(error, Unavailable):
        return "unavailable"
    return "user" if isinstance(error, USER_ERRORS) else "failure"
