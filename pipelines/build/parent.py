"""Open the store of a build, and the version that it starts from."""

from pipelines.config.build import BuildConfig
from pipelines.records import check_made
from storage.store import Store
from storage.verify import check_present
from storage.versions import Version, latest


def open_parent(config: BuildConfig) -> tuple[Store, Version | None]:
    """Open the store of a build, creating it if needed; return it with its last version, whose files must be there.

    A new version refers to the files of the last one. Their contents are checked when they are read.

    Raises:
        StorageError: the store cannot be read or written, or a file of the version is missing or damaged; the message
            names it and the remedy.
    """
    store = Store.open(config.store, create=True)
    store.remove_leftovers()
    return store, parent_of(store)


def parent_of(store: Store) -> Version | None:
    """The last version of a store, whose files must be there.

    Raises:
        StorageError: as `open_parent`.
    """
    version = latest(store)
    if version is not None:
        check_present(store, check_made(store, version))
    return version
