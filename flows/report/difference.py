"""The differences between two corpus versions, as JSON values and as tables for a terminal."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from typing_extensions import TypedDict

from flows.report.facts import summary
from flows.report.grids import DATASET, Column, Grid
from flows.report.records import VersionSummary
from flows.report.terminal import TextTable
from pipelines.diff.compare import Corpus, Differences, compare
from pipelines.diff.words import WordChanges, WordCount

SAME_UTTERANCES = "No utterance was added, removed or changed."
OTHER_UNITS = "The units are those of different quantizers, so that no word of one is a word of the other."


class Difference(TypedDict):
    """Two versions and what distinguishes them; `corpora` are their STORE@VERSION."""

    corpora: tuple[str, str]
    before: VersionSummary
    after: VersionSummary
    differences: Differences


def difference(before: Corpus, after: Corpus) -> Difference:
    """Compare two versions.

    Raises:
        StorageError: a file of a version cannot be read.
    """
    return {
        "corpora": (before[1].uri, after[1].uri),
        "before": summary(*before),
        "after": summary(*after),
        "differences": compare(before, after),
    }


def difference_tables(found: Difference) -> Group:
    """Return the tables of `echox diff`."""
    changes = found["differences"]
    before, after = found["corpora"]
    shown: list[RenderableType] = [Text(f"before: {before}\nafter:  {after}"), TextTable(_totals_grid(found))]
    shown.append(TextTable(_entries_grid(changes)) if changes["entries"] else Text(SAME_UTTERANCES))
    if changes["rejects"]:
        shown.append(TextTable(_rejects_grid(changes)))
    if changes["settings"]:
        shown.append(_settings_table(changes))
    shown += _words(changes["words"])
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in shown[:-1]), shown[-1])


def _totals_grid(found: Difference) -> Grid:
    """One row per number that both versions have."""
    before, after = found["before"], found["after"]
    columns = (Column("", number=False), Column("before"), Column("after"), Column("change"))
    rows = [
        ["hours", *_numbers(before["hours"], after["hours"], ",.3f")],
        ["utterances", *_numbers(before["utterances"], after["utterances"], ",")],
        *(
            [name, *_numbers(before["ratios"][name], after["ratios"][name], ".3f")]
            for name in ("frames/words", "frames/runs", "runs/words")
        ),
    ]
    return Grid("Totals", columns, rows, "Ratios are those of all speech of a version.")


def _numbers(before: float, after: float, form: str) -> list[str]:
    return [format(before, form), format(after, form), format(after - before, f"+{form}") if after != before else ""]


def _entries_grid(changes: Differences) -> Grid:
    columns = (DATASET, *map(Column, ("added", "removed", "other content", "other facts")))
    rows = [
        [name, *(f"{count:,}" for count in (of["added"], of["removed"], of["content"], of["facts"]))]
        for name, of in changes["entries"].items()
    ]
    facts = sum((Counter(of["changed_facts"]) for of in changes["entries"].values()), Counter[str]())
    note = "Changed facts: " + ", ".join(f"{name} {count:,}" for name, count in facts.most_common()) if facts else ""
    return Grid("Utterances", columns, rows, note)


def _rejects_grid(changes: Differences) -> Grid:
    columns = (Column("reason", number=False), *map(Column, ("came", "went", "healed")))
    rows = [
        [reason, *(f"{count:,}" for count in (of["came"], of["went"], of["healed"]))]
        for reason, of in changes["rejects"].items()
    ]
    return Grid("Rejects", columns, rows)


def _settings_table(changes: Differences) -> Table:
    table = Table(title="Settings", title_justify="left", box=None, pad_edge=False)
    for name in ("field", "before", "after"):
        table.add_column(name, overflow="fold")
    for name, values in changes["settings"].items():
        table.add_row(*map(Text, (name, _value(values["before"]), _value(values["after"]))))
    return table


def _value(value: Any) -> str:
    return "-" if value is None else str(value)


def _words(words: WordChanges | None) -> Iterator[Text]:
    if words is None:
        yield Text(OTHER_UNITS)
        return
    counts = f"{words['came']:,} came, {words['went']:,} went, {words['stayed']:,} stayed"
    lines = [f"Words of the unit language: {counts}."]
    for kind, examples in (("came", words["most_frequent_came"]), ("went", words["most_frequent_went"])):
        if examples:
            lines.append(f"Most frequent that {kind}: {', '.join(map(_word, examples))}.")
    yield Text("\n".join(lines))


def _word(word: WordCount) -> str:
    return f"{word['word']} ({word['count']:,})"
