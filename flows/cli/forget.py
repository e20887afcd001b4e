"""`echox forget`: speech that somebody withdraws leaves a corpus."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.command import Command, StoreArgument, Terminal, print_json, say

if TYPE_CHECKING:
    from pipelines.forget.forget import Forgotten


def forget(
    store: StoreArgument,
    reason: Annotated[
        str, typer.Option(help="Why; it is kept in the store, so name no person.", metavar="TEXT", show_default=False)
    ],
    speaker: Annotated[str | None, typer.Option(help="Utterances of this speaker.", metavar="ID")] = None,
    dataset: Annotated[str | None, typer.Option(help="Utterances of this dataset.", metavar="NAME")] = None,
    ids: Annotated[
        Path | None,
        typer.Option(help="Utterances whose ids stand in this file, one a line.", metavar="FILE"),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Utterances of this licence.", metavar="TEXT")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was forgotten as JSON.")] = False,
) -> None:
    """Forget speech: commit a version without it, and suppress it for all builds to come.

    An utterance is forgotten if it meets all of the given options; so is every other one with the same audio. The
    store alone is read. Earlier versions hold the speech until `echox gc STORE --erase`.
    """
    from flows.report.facts import facts
    from flows.report.html import leave_report
    from pipelines.forget.forget import forget as forgotten
    from pipelines.forget.wanted import read_wanted
    from storage.store import Store

    wanted = read_wanted(speaker=speaker, dataset=dataset, ids=ids, licence=licence)
    found = forgotten(store, wanted, reason, Terminal(stderr=True))
    kept = Store.open(found.store)
    leave_report(kept, facts(kept, found.built.version))
    if as_json:
        print_json(values(found))
    else:
        _show(found)


def values(found: "Forgotten") -> dict[str, Any]:
    """The forgotten speech, as JSON values."""
    names = ("store", "utterances", "rejected", "unknown", "seconds", "versions", "shards", "models", "new_list")
    told = {name: getattr(found, name) for name in names}
    return {**told, "version": found.built.version.number, "new": found.built.new}


def _show(found: "Forgotten") -> None:
    from storage.versions import described

    version = found.built.version
    rejected = f", {found.rejected:,} rejected entries" if found.rejected else ""
    unknown = f", {found.unknown:,} ids that no version has" if found.unknown else ""
    say(f"suppressed: {found.utterances:,} utterances ({found.seconds:,.1f} s){rejected}{unknown}")
    say(f"version {version.number} of {found.store} is without them" + ("" if found.built.new else ", as it was"))
    if found.versions:
        held = f"held by versions {described(found.versions)}, in {len(found.shards):,} training files"
        say(f"{held}; to erase them: echox gc {found.store} --erase")
    for name in found.models:
        say(f"trained on them, and not changed: model {name}")


COMMAND = Command(forget, "Keep", "echox forget examples/sample-corpus --speaker emma --reason 'letter of 3 May'")
