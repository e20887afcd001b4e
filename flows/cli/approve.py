"""`echox approve`: let a candidate be trained on."""

from flows.command import Command, CorpusArgument, say


def approve(corpus: CorpusArgument) -> None:
    """Approve a version that a build marked as a candidate, so that training accepts it."""
    from storage.approvals import approve as approved
    from storage.versions import resolve

    store, version = resolve(corpus)
    done = approved(store, version)
    say(f"{version.uri}: {'approved' if done else 'nothing to approve'}")


COMMAND = Command(approve, "Build", "echox approve examples/sample-corpus@2")
