"""The tables of a corpus version as text cells, for the terminal and the HTML page."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.report.records import CompressionFacts, DatasetFacts, Definition, Facts
from pipelines.build.statistics import UNKNOWN_LICENCE
from storage.schemas import TRAINING
from unitlang.frames import SAMPLE_RATE


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: its heading.
        meaning: what its values are, where the name does not make it clear.
        number: whether its cells are numbers.
        folds: whether its cells are names of any length, which may be broken over several lines.
    """

    name: str
    meaning: str = ""
    number: bool = True
    folds: bool = False


SHOWN_LICENCES = 20
"""Licences of a dataset in the tables; `echox inspect --json` has all."""
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
    """A bar of a histogram.

    Attributes:
        name: what was counted.
        share: its part of the total, 0 to 1.
        length: relative to the longest bar, 0 to 1.
    """

    name: str
    share: float
    length: float


@dataclass(frozen=True)
class _Measure:
    """A column of the tables by dataset, with the function that makes its cell from a dataset's facts."""

    column: Column
    cell: Callable[[DatasetFacts], str] = field(repr=False)


def _compressed(name: str, meaning: str, cell: Callable[[CompressionFacts], str]) -> _Measure:
    return _Measure(Column(name, meaning), lambda facts: cell(facts["compression"]))


def frame_milliseconds(made_with: Definition) -> float:
    """Return the length of one frame of the extractor in milliseconds."""
    return 1000 * made_with["grid"]["hop"] / SAMPLE_RATE


def _compression_measures(made_with: Definition) -> tuple[_Measure, ...]:
    frames = f"frames (steps of the extractor, {frame_milliseconds(made_with):g} ms) per second of speech"
    runs = "runs (repeats of a unit counted once) per second of speech"
    return (
        _compressed("frames/s", frames, lambda of: f"{of['frames_per_second']:.2f}"),
        _compressed("runs/s", runs, lambda of: f"{of['runs_per_second']:.2f}"),
        _compressed(
            "words/s", "words of the unit language per second of speech", lambda of: f"{of['words_per_second']:.2f}"
        ),
        _compressed("frames/words", "total compression: frames per word", lambda of: f"{of['total_ratio']:.2f}x"),
        _compressed("frames/runs", "what removing repeats saves", lambda of: f"{of['dedup_ratio']:.2f}x"),
        _compressed(
            "runs/words", "what the unit language saves on top of that", lambda of: f"{of['unit_language_ratio']:.2f}x"
        ),
    )


CORPUS = (
    _Measure(Column("hours", "speech that became units"), lambda facts: f"{facts['hours']:,.3f}"),
    _Measure(Column("utterances", "utterances with units"), lambda facts: f"{facts['utterances']:,}"),
    _Measure(Column("rejects", "entries that could not be used"), lambda facts: f"{sum(facts['rejects'].values()):,}"),
    _compressed(
        "vocabulary used",
        "share of the unit language's words that occur at least once",
        lambda of: f"{of['vocabulary_use']:.1%}",
    ),
    _compressed(
        "bits/word",
        "entropy of the words' frequencies: an ideal code without context",
        lambda of: f"{of['bits_per_word']:.2f}",
    ),
    _compressed("bits/s", "bits/word times words/s", lambda of: f"{of['bits_per_second']:.1f}"),
)


def compression_grid(facts: Facts) -> Grid:
    """Return rates per second of speech and the three ratios; the note says what they were measured on."""
    return _by_dataset("Compression", _compression_measures(facts["made_with"]), facts, facts["compression_note"])


def corpus_grid(facts: Facts) -> Grid:
    """Return hours, utterances, rejects, use of the vocabulary and entropy by dataset."""
    return _by_dataset("Corpus", CORPUS, facts)


def _by_dataset(title: str, measures: Sequence[_Measure], facts: Facts, note: str = "") -> Grid:
    """One row per dataset, and one for all where there are several."""
    rows: list[tuple[str, DatasetFacts]] = list(facts["datasets"].items())
    if len(rows) > 1:
        rows.append(("all", facts))
    columns = (DATASET, *(measure.column for measure in measures))
    return Grid(title, columns, [[name, *(m.cell(values) for m in measures)] for name, values in rows], note)


def licences_grid(facts: Facts) -> Grid:
    """Return the hours by dataset and licence, and by licence of all where there are several datasets."""
    parts: list[tuple[str, DatasetFacts]] = list(facts["datasets"].items())
    if len(parts) > 1:
        parts.append(("all", facts))
    columns = (DATASET, Column("licence", "as the sources and the config state it", number=False), Column("hours"))
    rows = [
        [name, licence, f"{hours:,.3f}"]
        for name, values in parts
        for licence, hours in _most_hours(values["licences"]).items()
    ]
    return Grid("Licences", columns, rows)


def _most_hours(licences: dict[str, float]) -> dict[str, float]:
    """The licences with the most hours, and the sum of the others if there are many."""
    names = sorted(licences, key=lambda name: (name != UNKNOWN_LICENCE, -licences[name]))
    if len(names) <= SHOWN_LICENCES:
        return licences
    shown = names[:SHOWN_LICENCES]
    rest = sum(licences[name] for name in names[SHOWN_LICENCES:])
    return {name: licences[name] for name in shown} | {f"{len(names) - len(shown):,} others": rest}


def shared_audio_grid(facts: Facts) -> Grid:
    """Return the utterances with equal audio by pairs of datasets."""
    other = Column("and dataset", "the other dataset, or the same one", number=False, folds=True)
    count = Column("utterances", "of the one that has fewer of an audio; of one dataset, all but the first")
    rows = [
        [*pair["datasets"], f"{pair['utterances']:,}", f"{pair['hours']:,.3f}"] for pair in facts["shared_audio"] or ()
    ]
    note = "`duplicates: reject` in the config keeps one utterance of each audio."
    return Grid("Same audio under several ids", (DATASET, other, count, Column("hours")), rows, note)


def rejects_grid(facts: Facts) -> Grid:
    """Return the rejects by dataset and reason."""
    columns = (DATASET, Column("reason", number=False), Column("rejects"))
    rows = [
        [name, reason, f"{count:,}"]
        for name, values in facts["datasets"].items()
        for reason, count in values["rejects"].items()
    ]
    return Grid("Rejects", columns, rows)


def examples_grid(facts: Facts) -> Grid:
    """Return the training examples by stage, and the utterances that no stage uses by reason."""
    stages = dict.fromkeys((*TRAINING, *facts["examples"]))  # a newer program may have written tables unknown here
    rows = [[stage, f"{facts['examples'].get(stage, 0):,}"] for stage in stages]
    rows += [[f"unused: {reason}", f"{count:,}"] for reason, count in facts["unused"].items()]
    return Grid("Training examples", (Column("stage", number=False), Column("examples")), rows)


def word_lengths(facts: Facts) -> list[Bar]:
    """Return the histogram of units per word."""
    counts = facts["compression"]["word_lengths"]
    total, most = max(1, sum(counts)), max([1, *counts])
    return [Bar(str(units), count / total, count / most) for units, count in enumerate(counts) if count]


def definition_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield name and text of each setting that defines units and words."""
    made, artifacts = facts["made_with"], facts["lineage"]["artifacts"]
    yield "features", _named(made["features"])
    codebook = f", codebook {made['centroids']}" if made["centroids"] else ""
    yield "quantizer", f"k {made['k']:,}{codebook}; {artifacts['quantizer']}"
    words = f"vocabulary {made['vocab_size']:,} (asked for {made['requested_vocab_size']:,})"
    longest = f"words of up to {made['max_word_units']} units"
    yield "unit language", f"{made['algorithm']}, {words}, {longest}; {artifacts['unit_language']}"


def lineage_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield name and text of everything that the version was made from and with."""
    yield "parent", str(facts["parent"] or "none")
    yield "created", facts["created"]
    if facts["review"]:
        by = f" by {facts['approved_by']}" if facts["approved_by"] else ""
        yield "status", f"{facts['status']}{by}: {'; '.join(facts['review'])}"
    yield "entries", f"{facts['entries']:,}"
    if suppressed := facts["lineage"]["suppressed"]:
        yield "suppressed", f"{suppressed:,} entries are kept out, because somebody withdrew them"
    yield from definition_rows(facts)
    for source in facts["lineage"]["sources"]:
        yield f"source {source['dataset']}", f"{source['kind']} {source['path']}"
    if later := facts["lineage"]["not_run"]:
        yield "not run yet", f"{', '.join(later)}; the next `echox build` runs it"
    for step, counts in facts["lineage"]["revisions"].items():
        if len(counts) > 1:
            yield f"revisions {step}", ", ".join(f"{name}: {count:,} work units" for name, count in counts.items())
    yield "packages", ", ".join(f"{name} {number}" for name, number in facts["lineage"]["packages"].items())


def _named(values: dict[str, Any]) -> str:
    """`mfcc`, or the kind and its settings: `hubert, checkpoint /models/base.pt, layer 9, ...`."""
    settings = (f"{name} {value}" for name, value in values.items() if name != "kind")
    return ", ".join([values["kind"], *settings])
