"""`echox diff`: what distinguishes two corpus versions."""

from typing import Annotated

import typer

from flows.command import Command, print_json


def diff(
    before: Annotated[
        str, typer.Argument(help="Version to start from.", metavar="STORE[@VERSION]", show_default=False)
    ],
    after: Annotated[
        str,
        typer.Argument(
            help="Version to compare with, of the same store or of another one.",
            metavar="STORE[@VERSION]",
            show_default=False,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Show what distinguishes two versions: entries, rejects, settings, words, hours and ratios.

    Files that both versions share are not read.
    """
    from rich.console import Console

    from flows.report.difference import difference, difference_tables
    from storage.versions import resolve

    versions = resolve(before), resolve(after)
    with Console(stderr=True).status("reading what differs"):
        found = difference(*versions)
    if as_json:
        print_json(found)
    else:
        Console(markup=False).print(difference_tables(found))


COMMAND = Command(diff, "Look", "echox diff examples/sample-corpus@1 examples/sample-corpus@2")
