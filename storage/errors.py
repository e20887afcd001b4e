"""What can go wrong with a store; every message names the place and the remedy."""


class StorageError(ValueError):
    """A mistake or a trouble outside the program: no such store, no access, a full disk, no such version."""


class Unavailable(StorageError):  # noqa: N818
    """A store does not answer though it was asked again and again; later it may."""


class NotFound(StorageError):  # noqa: N818 - reads as what it says
    """The store has no file of that name."""


class AlreadyExists(StorageError):  # noqa: N818
    """`Store.create` came second: a file of that name is there."""


class CommitConflict(StorageError):  # noqa: N818
    """Another build committed the version first."""


class CorruptStore(StorageError):  # noqa: N818
    """A file of the store is not what was written."""
