"""`echox gc`: remove versions, and what no version refers to."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.command import Command, StoreArgument, Terminal, print_json, say

if TYPE_CHECKING:
    from rich.table import Table

    from storage.collecting.garbage import Garbage

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
"""Seconds of the units of a time."""
LONGEST = 100 * 365 * 24 * 3600


def seconds(text: str) -> float:
    """Seconds of a time such as `7d`.

    Raises:
        typer.BadParameter: it is none.
    """
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    length = int(found[1]) * UNITS[found[2]] if found else LONGEST
    if length >= LONGEST:
        raise typer.BadParameter(f"{text!r} is no time of less than 100 years; write 30m, 12h, 7d or 4w")
    return float(length)


def gc(
    store: StoreArgument,
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="Remove all versions but the N newest ones.", metavar="N")
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option(
            "--older-than", parser=seconds, metavar="TIME", help="Remove versions that were committed before: 7d, 12h."
        ),
    ] = None,
    grace: Annotated[
        float,
        typer.Option(
            "--grace", parser=seconds, metavar="TIME", help="Spare files and unfinished builds that are younger."
        ),
    ] = "1d",  # pyright: ignore[reportArgumentType] - typer parses it
    erase: Annotated[
        bool,
        typer.Option(
            "--erase", help="Remove all versions that hold forgotten speech, and at once all that none refers to."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Remove what no version refers to: files of removed versions and of builds that were given up.

    Without --keep and --older-than no version is removed; with both, those that both let go. The newest version always
    stays. While a build or a copy into the store runs, gc refuses.
    """
    from pipelines.build.collect import collect, to_expire
    from pipelines.forget.erase import erase as erased
    from storage.store import Store

    opened = Store.open(store)
    expired = to_expire(opened, keep, older_than)
    if erase:
        found = erased(store, expired, dry_run=dry_run)
    else:
        found = collect(opened, expired, grace_seconds=grace, dry_run=dry_run)
    if as_json:
        print_json(_values(found, dry_run))
        return
    Terminal().print(_table(found))
    done = "would be removed" if dry_run else "removed"
    say(f"{opened.uri}: {_told(found)} {done}")


def _counts(found: "Garbage") -> dict[str, dict[str, int]]:
    """Number of files and of bytes by kind, in alphabetical order."""
    counts: dict[str, dict[str, int]] = {}
    for kind, size in found.sizes():
        of_kind = counts.setdefault(kind, {"files": 0, "bytes": 0})
        of_kind["files"] += 1
        of_kind["bytes"] += size
    return dict(sorted(counts.items()))


def _total(counts: Iterable[dict[str, int]], field: str) -> int:
    return sum(count[field] for count in counts)


def _values(found: "Garbage", dry_run: bool) -> dict[str, Any]:
    counts = _counts(found)
    return {
        "store": found.store.uri,
        "dry_run": dry_run,
        "expired": list(found.expired),
        "kept": list(found.kept),
        "kinds": counts,
        "files": _total(counts.values(), "files"),
        "bytes": _total(counts.values(), "bytes"),
    }


def _table(found: "Garbage") -> "Table":
    from rich.filesize import decimal
    from rich.table import Table

    table = Table("folder")
    for heading in ("files", "bytes"):
        table.add_column(heading, justify="right")
    for kind, count in _counts(found).items():
        table.add_row(kind, f"{count['files']:,}", decimal(count["bytes"]))
    return table


def _told(found: "Garbage") -> str:
    """`version 1 and 12 files (3.4 MB)`."""
    from rich.filesize import decimal

    from storage.versions import described

    counts = _counts(found).values()
    files = f"{_total(counts, 'files'):,} files ({decimal(_total(counts, 'bytes'))})"
    versions = f"version{'s' * (len(found.expired) > 1)} {described(found.expired)}, in all " if found.expired else ""
    return versions + files


COMMAND = Command(gc, "Keep", "echox gc examples/sample-corpus --keep 3 --dry-run")
