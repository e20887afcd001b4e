"""What can be wrong with a user's models, settings or runs."""


class EchoxError(ValueError):
    """A mistake in what the user gave: the message names the file, the field and the remedy."""
