"""`echox versions`: the versions of a corpus."""

from rich.console import Console

from flows.command import Command, StoreArgument


def versions(store: StoreArgument) -> None:
    """List the versions of a corpus: hours, k, vocabulary, compression and status of each."""
    from flows.report.facts import summary
    from flows.report.terminal import versions_table
    from storage.manifests import history

    place, manifests = history(store)
    Console(markup=False).print(versions_table([summary(place, manifest) for manifest in manifests]))


COMMAND = Command(versions, "Look", "echox versions examples/sample-corpus")
