"""`echox inspect`: the facts of a corpus version."""

from typing import Annotated

import typer

from flows.command import Command, CorpusArgument, Terminal, print_json


def inspect(
    corpus: CorpusArgument, as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False
) -> None:
    """Show hours, rejects, compression by dataset, settings and lineage of a corpus version."""
    from flows.report.facts import facts
    from flows.report.terminal import tables
    from storage.versions import resolve

    found = facts(*resolve(corpus))
    if as_json:
        print_json(found)
    else:
        Terminal().print(tables(found))


COMMAND = Command(inspect, "Look", "echox inspect examples/sample-corpus@1 --json")
