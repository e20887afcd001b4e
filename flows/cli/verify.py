"""`echox verify`: prove that a corpus version is whole, or that speech is absent from a store."""

from collections.abc import Collection, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from flows.command import Command, CorpusArgument, complain, say


def verify(
    corpus: CorpusArgument,
    absent: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Search all files of the store for the utterances whose ids stand in FILE, one a line."
        ),
    ] = None,
    forgotten: Annotated[
        bool, typer.Option("--forgotten", help="Search all files of the store for all that was forgotten.")
    ] = False,
) -> None:
    """Check all checksums and counts of a version and its labels, and that every row decodes back.

    With --absent or --forgotten, prove instead that no file of the store holds ids, texts or audio of some utterances.
    """
    if absent is not None or forgotten:
        from pipelines.forget.wanted import read_ids

        _verify_absent(corpus, None if absent is None else read_ids(absent))
        return
    from pipelines.build.verify import verify as problems_of
    from pipelines.label.verify import problems_of_labels
    from storage.versions import resolve

    store, version = resolve(corpus)
    problems = 0
    for problem in chain(problems_of(store, version), problems_of_labels(store, version)):
        problems += 1
        complain(f"wrong: {problem}")
    if problems:
        complain(f"{version.uri}: {problems} problems")
        raise typer.Exit(1)
    say(f"{version.uri}: {len(version.contents.tables)} files whole, every row decodes back")


def _verify_absent(place: str, ids: Collection[str] | None) -> None:
    """Search a store for some ids, or for all that is suppressed in it."""
    from pipelines.errors import UserError
    from pipelines.forget.absent import said_by_others, search
    from pipelines.forget.traces import Traces
    from storage.store import Store
    from storage.uris import split_version

    if split_version(place)[1] is not None:
        raise UserError(f"{place}: all files of the store are searched, those of all versions; name the store alone")
    store = Store.open(place)
    traces = Traces.of(store, ids)
    traces = traces.besides(said_by_others(store, traces))
    files = rows = holding = 0
    for file in search(store, traces):
        files, rows, holding = files + 1, rows + file.rows, holding + bool(file.found)
        if file.found:
            complain(f"found: {store.url(file.path)}: {_told(file.found)}")
    if holding:
        complain(f"{store.uri}: {holding} of {files} files hold traces; `echox gc {store.uri} --erase` removes them")
        raise typer.Exit(1)
    others = len(traces.said_by_others)
    said = f"; others say {others:,} of the texts too, which were not searched for" if others else ""
    say(f"{store.uri}: {files:,} files, {rows:,} rows: {len(traces.digests.ids):,} ids are absent{said}")


def _told(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(found.items()))


COMMAND = Command(verify, "Look", "echox verify examples/sample-corpus")
