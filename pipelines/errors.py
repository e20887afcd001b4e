"""The user's mistakes as the pipelines see them."""


class UserError(ValueError):
    """A mistake in a config, a command or a source; the message names file, field and remedy. Exit code 2."""
