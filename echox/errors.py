"""The error for mistakes in models, settings and runs."""


class EchoxError(ValueError):
    """A mistake of the user; the message names the file, the field and the remedy."""
