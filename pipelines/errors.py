"""The user's mistakes as the pipelines see them."""

from echox.errors import EchoxError
from storage.errors import StorageError
from unitlang.errors import UnitlangError


class UserError(ValueError):
    """A mistake in a config, a command or a source; the message names file, field and remedy. Exit code 2."""


USER_ERRORS = (UserError, StorageError, UnitlangError, EchoxError)
"""What the packages raise for mistakes of the user, and for places of theirs that refuse."""
