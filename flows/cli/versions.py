"""`echox versions`: the versions of a corpus."""

from flows.command import Command, StoreArgument, Terminal


def versions(store: StoreArgument) -> None:
    """List the versions of a corpus: hours, k, vocabulary, compression and status of each."""
    from flows.report.facts import summary
    from flows.report.terminal import versions_table
    from storage.versions import history

    place, versions = history(store)
    Terminal().print(versions_table([summary(place, version) for version in versions]))


COMMAND = Command(versions, "Look", "echox versions examples/sample-corpus")
