"""`echox files`: where the tables of a corpus version lie, for other programs."""

from dataclasses import asdict
from typing import Annotated

import typer

from flows.command import Command, CorpusArgument, print_json


def files(
    corpus: CorpusArgument,
    table: Annotated[
        str,
        typer.Argument(help="utterances, rejects, units, unit_language, s2t, t2c or echo.", show_default=False),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object with rows, bytes and SHA-256 of each file.")
    ] = False,
) -> None:
    """Print the path or URL of each Parquet file of one table of a version, one a line.

    The folders of a store hold files of all its versions and of unfinished builds, so a pattern such as
    data/units/*.parquet mixes them.
    """
    from storage.versions import resolve

    store, version = resolve(corpus)
    found = version.files(table)
    if as_json:
        listed = [{**asdict(file), "url": store.url(file.path)} for file in found]
        print_json({"store": store.uri, "version": version.number, "table": table, "files": listed})
        return
    for file in found:
        print(store.url(file.path))  # noqa: T201


COMMAND = Command(files, "Look", "echox files examples/sample-corpus@1 unit_language")
