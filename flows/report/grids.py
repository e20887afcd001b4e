"""The tables of a corpus version as cells of text, for `flows.report.terminal` and `flows.report.html`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flows.report.facts import Facts

STAGES = ("s2t", "t2c", "echo")
SHORT = 100
"""Hours below which the third decimal is of interest among versions."""
SHOWN_DIGITS = 6
"""Of fingerprints, to tell versions apart at a glance; thousands of hours still fit into 80 columns."""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: its head.
        meaning: what its values are, where the name does not tell.
        number: whether its cells are numbers.
        folds: whether its cells are names of any length, which may go on in the next line.
    """

    name: str
    meaning: str = ""
    number: bool = True
    folds: bool = False


DATASET = Column("dataset", number=False, folds=True)


@dataclass(frozen=True)
class Grid:
    """A table of cells; the first column names the row."""

    title: str
    columns: Sequence[Column]
    rows: list[list[str]]
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """A line of a histogram.

    Attributes:
        name: what was counted.
        share: of all.
        length: compared with the longest, 0 to 1.
    """

    name: str
    share: float
    length: float


@dataclass(frozen=True)
class _Measure:
    """A column of the tables by dataset, and how its cell comes from the facts of a dataset."""

    column: Column
    cell: Callable[[Facts], str] = field(repr=False)


def _compressed(name: str, key: str, form: str, meaning: str) -> _Measure:
    return _Measure(Column(name, meaning), lambda facts: form.format(facts["compression"][key]))


COMPRESSION = (
    _compressed("frames/s", "frames_per_second", "{:.2f}", "frames (20 ms steps) per second of speech"),
    _compressed("runs/s", "runs_per_second", "{:.2f}", "runs (repeats of a unit counted once) per second of speech"),
    _compressed("words/s", "words_per_second", "{:.2f}", "words of the unit language per second of speech"),
    _compressed("frames/words", "total_ratio", "{:.2f}x", "total compression: how many frames a word stands for"),
    _compressed("frames/runs", "dedup_ratio", "{:.2f}x", "what removing repeats saves"),
    _compressed("runs/words", "unit_language_ratio", "{:.2f}x", "what the unit language saves on top of that"),
)
CORPUS = (
    _Measure(Column("hours", "speech that became units"), lambda facts: f"{facts['hours']:,.3f}"),
    _Measure(Column("utterances", "stretches of speech with units"), lambda facts: f"{facts['utterances']:,}"),
    _Measure(Column("rejects", "entries that could not be used"), lambda facts: f"{sum(facts['rejects'].values()):,}"),
    _compressed(
        "vocabulary used", "vocabulary_use", "{:.1%}", "share of the unit language's words that occur at least once"
    ),
    _compressed(
        "bits/word", "bits_per_word", "{:.2f}", "entropy of the words' frequencies: an ideal code without context"
    ),
    _compressed("bits/s", "bits_per_second", "{:.1f}", "bits/word times words/s"),
)


def compression_grid(facts: Facts) -> Grid:
    """Rates per second of speech, and the three ratios; the note says what they were measured on."""
    return _by_dataset("Compression", COMPRESSION, facts, facts["compression_note"])


def corpus_grid(facts: Facts) -> Grid:
    """Hours, utterances and rejects per dataset, and what a word carries."""
    return _by_dataset("Corpus", CORPUS, facts)


def _by_dataset(title: str, measures: Sequence[_Measure], facts: Facts, note: str = "") -> Grid:
    """A row a dataset, and one for all where there are several."""
    rows = list(facts["datasets"].items())
    if len(rows) > 1:
        rows.append(("all", facts))
    columns = (DATASET, *(measure.column for measure in measures))
    return Grid(title, columns, [[name, *(m.cell(values) for m in measures)] for name, values in rows], note)


def rejects_grid(facts: Facts) -> Grid:
    """Rejects by dataset and reason."""
    columns = (DATASET, Column("reason", number=False), Column("rejects"))
    rows = [
        [name, reason, f"{count:,}"]
        for name, values in facts["datasets"].items()
        for reason, count in values["rejects"].items()
    ]
    return Grid("Rejects", columns, rows)


def examples_grid(facts: Facts) -> Grid:
    """Training examples by stage, and utterances that no stage uses by reason."""
    rows = [[stage, f"{facts['examples'].get(stage, 0):,}"] for stage in STAGES]
    rows += [[f"unused: {reason}", f"{count:,}"] for reason, count in facts["unused"].items()]
    return Grid("Training examples", (Column("stage", number=False), Column("examples")), rows)


def versions_grid(summaries: Sequence[Facts]) -> Grid:
    """One row a version, with its status where one is or was a candidate; times are UTC, as everywhere."""
    columns = (
        Column("no."),
        Column("created", number=False),
        Column("hours"),
        Column("utter-\nances"),
        Column("k"),
        Column("vocabu-\nlary"),
        Column("ratio"),
        Column("quan-\ntizer", number=False),
        Column("unit\nlang.", number=False),
    )
    rows = [_version_row(values) for values in summaries]
    if all(values["status"] == "accepted" for values in summaries):
        return Grid("Versions", columns, rows)
    told = [[*row, values["status"]] for row, values in zip(rows, summaries, strict=True)]
    return Grid("Versions", (*columns, Column("status", number=False)), told)


def _version_row(values: Facts) -> list[str]:
    return [
        str(values["version"]),
        f"{datetime.fromisoformat(values['created']):%Y-%m-%d %H:%M}",
        f"{values['hours']:,.{3 if values['hours'] < SHORT else 1}f}",
        f"{values['utterances']:,}",
        f"{values['k']:,}",
        f"{values['vocab_size']:,}",
        f"{values['total_ratio']:.2f}x",
        *(values["artifacts"][name][:SHOWN_DIGITS] for name in ("quantizer", "unit_language")),
    ]


def word_lengths(facts: Facts) -> list[Bar]:
    """How many units the words of the corpus have."""
    counts = facts["compression"]["word_lengths"]
    total, most = max(1, sum(counts)), max([1, *counts])
    return [Bar(str(units), count / total, count / most) for units, count in enumerate(counts) if count]


def definition_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    """What defines the corpus: a name and a text each."""
    made, artifacts = facts["made_with"], facts["lineage"]["artifacts"]
    yield "features", _named(made["features"])
    codebook = f", codebook {made['centroids']}" if made["centroids"] else ""
    yield "quantizer", f"k {made['k']:,}{codebook}; {artifacts['quantizer']}"
    words = f"vocabulary {made['vocab_size']:,} (asked for {made['requested_vocab_size']:,})"
    longest = f"words of up to {made['max_word_units']} units"
    yield "unit language", f"{made['algorithm']}, {words}, {longest}; {artifacts['unit_language']}"


def lineage_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    """What the version was made from and with: a name and a text each."""
    yield "parent", str(facts["parent"] or "none")
    yield "created", facts["created"]
    if facts["review"]:
        by = f" by {facts['approved_by']}" if facts["approved_by"] else ""
        yield "status", f"{facts['status']}{by}: {'; '.join(facts['review'])}"
    yield "entries", f"{facts['entries']:,}"
    yield from definition_rows(facts)
    for source in facts["lineage"]["sources"]:
        yield f"source {source['dataset']}", f"{source['kind']} {source['path']}"
    yield "packages", ", ".join(f"{name} {number}" for name, number in facts["lineage"]["packages"].items())


def _named(values: dict[str, Any]) -> str:
    """`mfcc`, or the kind and its settings: `hubert, checkpoint /models/base.pt, layer 9, ...`."""
    settings = (f"{name} {value}" for name, value in values.items() if name != "kind")
    return ", ".join([values["kind"], *settings])
