"""`echox versions`: the versions of a corpus."""

from functools import partial
from typing import Annotated

import typer

from flows.command import Command, CorpusArgument, Terminal, print_json


def versions(
    store: CorpusArgument, as_json: Annotated[bool, typer.Option("--json", help="Print the versions as JSON.")] = False
) -> None:
    """List the versions of a corpus and what tells them apart: hours, ratios, settings, status.

    With STORE@VERSION, list those up to that version.
    """
    from flows.report.facts import summary
    from flows.report.history import versions_tables
    from storage.versions import history

    place, versions = history(store)
    found = list(map(partial(summary, place), versions))  # `map` holds one version at a time
    if as_json:
        print_json({"store": place.uri, "versions": found})
    else:
        Terminal().print(versions_tables(found))


COMMAND = Command(versions, "Look", "echox versions examples/sample-corpus")
