"""`echox verify`: prove that a corpus version is whole."""

import sys

import typer

from flows.command import Command, CorpusArgument


def verify(corpus: CorpusArgument) -> None:
    """Check all checksums and counts of a version, and that every row decodes back."""
    from pipelines.build.verify import verify as problems_of
    from storage.versions import resolve

    store, version = resolve(corpus)
    problems = 0
    for problem in problems_of(store, version):
        problems += 1
        print(f"wrong: {problem}", file=sys.stderr)  # noqa: T201
    if problems:
        print(f"{version.uri}: {problems} problems", file=sys.stderr)  # noqa: T201
        raise typer.Exit(1)
    files = sum(len(receipt.files) for receipts in version.steps.values() for receipt in receipts)
    print(f"{version.uri}: {files} files whole, every row decodes back")  # noqa: T201


COMMAND = Command(verify, "Look", "echox verify examples/sample-corpus")
