"""`echox verify`: prove that a corpus version is whole."""

import typer

from flows.command import Command, CorpusArgument, complain, say


def verify(corpus: CorpusArgument) -> None:
    """Check all checksums and counts of a version, and that every row decodes back."""
    from pipelines.build.verify import verify as problems_of
    from storage.versions import resolve

    store, version = resolve(corpus)
    problems = 0
    for problem in problems_of(store, version):
        problems += 1
        complain(f"wrong: {problem}")
    if problems:
        complain(f"{version.uri}: {problems} problems")
        raise typer.Exit(1)
    files = len(version.contents.tables)
    say(f"{version.uri}: {files} files whole, every row decodes back")


COMMAND = Command(verify, "Look", "echox verify examples/sample-corpus")
