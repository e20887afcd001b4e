"""The versions of a corpus for a terminal: what all have in common once, then what tells them apart."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group
from rich.text import Text

from flows.report.grids import Column, Grid
from flows.report.records import VersionSummary
from flows.report.terminal import TextTable

SHORT = 100
"""Below so many hours the versions show three decimals, from there on one."""
SHOWN_DIGITS = 6
"""Digits of a fingerprint that are shown; with six the table fits into 80 columns."""
TOTALS = ("created", "hours", "utterances", "frames/words", "frames/runs", "runs/words")
"""Columns that the table of a single version has."""
TEXTS = {"created", "status", "features", "algorithm", "quantizer", "unit language"}
"""Columns that hold no numbers."""


def versions_tables(summaries: Sequence[VersionSummary]) -> Group:
    """Return the table of `echox versions`, below what all versions have in common; times are UTC."""
    rows = [_cells(values) for values in summaries]
    names = list(dict.fromkeys(name for row in rows for name in row))
    values = {name: [row.get(name, "-") for row in rows] for name in names}
    kept = TOTALS if len(rows) == 1 else ("created",)
    common = [name for name in names if len({*values[name]}) == 1 and name not in kept]
    apart = [name for name in names if name not in common]
    columns = (Column("no."), *(Column(_broken(name), number=name not in TEXTS) for name in apart))
    lines = [[str(of["version"]), *(values[name][number] for name in apart)] for number, of in enumerate(summaries)]
    shared = ", ".join(f"{name} {values[name][0]}" for name in common)
    head = [Text(f"{_those(len(summaries))}: {shared}\n")] if common else []
    return Group(*head, TextTable(Grid("Versions", columns, lines)))


def _those(count: int) -> str:
    return "The only version" if count == 1 else f"All {count} versions"


def _cells(values: VersionSummary) -> dict[str, str]:
    """Text of each column; extractors with other settings have other columns."""
    features = values["features"]
    return {
        "created": f"{datetime.fromisoformat(values['created']):%Y-%m-%d %H:%M}",
        "status": values["status"],
        "hours": f"{values['hours']:,.{3 if values['hours'] < SHORT else 1}f}",
        "utterances": f"{values['utterances']:,}",
        **{name: f"{ratio:.2f}x" for name, ratio in values["ratios"].items()},
        "features": str(features["kind"]),
        **{name: str(value) for name, value in features.items() if name != "kind"},
        "k": f"{values['k']:,}",
        "algorithm": values["algorithm"],
        "vocabulary": f"{values['vocab_size']:,}",
        **({"labels": f"{values['labels']:,}"} if values["labels"] else {}),
        "max word units": str(values["max_word_units"]),
        "quantizer": values["artifacts"]["quantizer"][:SHOWN_DIGITS],
        "unit language": values["artifacts"]["unit_language"][:SHOWN_DIGITS],
    }


def _broken(name: str) -> str:
    """A heading over several lines, so that the column becomes narrow."""
    return {"utterances": "utter-\nances", "vocabulary": "vocabu-\nlary", "quantizer": "quan-\ntizer"}.get(
        name, name.replace("/", "/\n").replace(" ", "\n")
    )
