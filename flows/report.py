"""What people see of a corpus version: tables for the terminal, JSON for programs, a page for the browser.

The tables hold names and paths as they are: print them on a console without markup, which would swallow `[brackets]`.
"""

import io
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table

from pipelines.statistics import ByDataset, DatasetStatistics, from_manifest, overall
from storage.manifests import Manifest

HISTOGRAM_WIDTH = 40
PAGE_WIDTH = 160
DATASET_WIDTHS = (8, 12)
"""Columns of the terminal for the name of a dataset, at least and at most; a longer one goes on in the next line."""


def facts(manifest: Manifest) -> dict[str, Any]:
    """The facts of a version as JSON values."""
    datasets = from_manifest(manifest.statistics)
    return {
        "store": manifest.store,
        "version": manifest.version,
        "parent": manifest.parent,
        "created": manifest.created,
        "entries": manifest.statistics["entries"],
        **dataset_facts(overall(datasets)),
        "compression_note": compression_note(manifest),
        "datasets": {name: dataset_facts(statistics) for name, statistics in datasets.items()},
        "examples": manifest.statistics["examples"],
        "unused": manifest.statistics["unused"],
        "lineage": lineage(manifest),
    }


def dataset_facts(statistics: DatasetStatistics) -> dict[str, Any]:
    """Hours, utterances, rejects and compression as JSON values."""
    compression = statistics.compression
    return {
        "hours": statistics.hours,
        "utterances": statistics.utterances,
        "rejects": dict(sorted(statistics.rejects.items())),
        "compression": {
            "total_ratio": compression.total_ratio,
            "dedup_ratio": compression.dedup_ratio,
            "unit_language_ratio": compression.unit_language_ratio,
            "frames_per_second": compression.frames_per_second,
            "runs_per_second": compression.runs_per_second,
            "words_per_second": compression.words_per_second,
            "bits_per_word": compression.bits_per_word,
            "bits_per_second": compression.bits_per_second,
            "vocabulary_use": compression.vocabulary_use,
            "word_lengths": [int(count) for count in compression.word_length_histogram],
        },
    }


def lineage(manifest: Manifest) -> dict[str, Any]:
    """What the version was made from and with."""
    return {
        "artifacts": {name: ref.fingerprint for name, ref in sorted(manifest.artifacts.items())},
        "features": manifest.config["features"],
        "quantizer": manifest.config["quantizer"],
        "unit_language": manifest.config["unit_language"],
        "sources": manifest.config["sources"],
        "work_units": {step: len(receipts) for step, receipts in sorted(manifest.steps.items())},
        "versions": manifest.lineage["versions"],
    }


def compression_note(manifest: Manifest) -> str:
    """What the compression was measured on; not held-out speech, which a reader might think."""
    hours = manifest.config["unit_language"]["sample_hours"]
    return (
        f"Measured on the whole corpus, which the unit language was learnt from (at most {hours:g} h of it). "
        "Speech that it was not learnt from may be compressed less."
    )


def tables(manifest: Manifest) -> Group:
    """The tables of `echox inspect`."""
    datasets = from_manifest(manifest.statistics)
    shown = [
        compression_table(datasets, compression_note(manifest)),
        corpus_table(datasets),
        word_length_table(overall(datasets)),
        examples_table(manifest),
    ]
    if any(statistics.rejects for statistics in datasets.values()):
        shown.insert(2, rejects_table(datasets))
    return Group(*(Padding(table, (0, 0, 1, 0)) for table in shown), lineage_table(manifest))


def corpus_table(datasets: ByDataset) -> Table:
    """Hours, utterances and rejects per dataset, and what a word carries."""
    table = _by_dataset("Corpus", "hours", "utterances", "rejects", "vocabulary", "bits/word", "bits/s")
    for name, statistics in _with_total(datasets):
        c = statistics.compression
        table.add_row(
            name,
            f"{statistics.hours:,.3f}",
            f"{statistics.utterances:,}",
            f"{statistics.rejects.total():,}",
            f"{c.vocabulary_use:.1%}",
            f"{c.bits_per_word:.2f}",
            f"{c.bits_per_second:.1f}",
        )
    return table


def compression_table(datasets: ByDataset, note: str) -> Table:
    """Rates per second of speech, and the three ratios; the note says what they were measured on."""
    rates = ("frames/s", "runs/s", "words/s")
    table = _by_dataset("Compression", *rates, "frames/words", "frames/runs", "runs/words")
    table.caption, table.caption_justify = note, "left"
    for name, statistics in _with_total(datasets):
        c = statistics.compression
        per_second = (c.frames_per_second, c.runs_per_second, c.words_per_second)
        ratios = (c.total_ratio, c.dedup_ratio, c.unit_language_ratio)
        table.add_row(name, *(f"{rate:.2f}" for rate in per_second), *(f"{ratio:.2f}x" for ratio in ratios))
    return table


def _table(title: str) -> Table:
    """A table that is as narrow as its contents, for terminals of 80 columns."""
    return Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        min_width=len(title) + 1,
    )


def _add_name(table: Table) -> None:
    least, most = DATASET_WIDTHS
    table.add_column("dataset", overflow="fold", min_width=least, max_width=most)


def _by_dataset(title: str, *columns: str) -> Table:
    table = _table(title)
    _add_name(table)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _with_total(datasets: ByDataset) -> list[tuple[str, DatasetStatistics]]:
    rows = list(datasets.items())
    return [*rows, ("all", overall(datasets))] if len(rows) > 1 else rows


def rejects_table(datasets: ByDataset) -> Table:
    """Rejects by dataset and reason."""
    table = _table("Rejects")
    _add_name(table)
    table.add_column("reason", overflow="fold")
    table.add_column("rejects", justify="right", no_wrap=True)
    for name, statistics in datasets.items():
        for reason, count in sorted(statistics.rejects.items()):
            table.add_row(name, reason, f"{count:,}")
    return table


def word_length_table(statistics: DatasetStatistics) -> Table:
    """How many units the words have."""
    histogram = Counter({n: int(c) for n, c in enumerate(statistics.compression.word_length_histogram) if c})
    total, most = max(1, histogram.total()), max(histogram.values(), default=1)
    table = _table("Units per word")
    table.add_column("units", justify="right")
    table.add_column("share", justify="right")
    table.add_column("")
    for length, count in sorted(histogram.items()):
        table.add_row(str(length), f"{count / total:.1%}", "█" * round(HISTOGRAM_WIDTH * count / most))
    return table


def examples_table(manifest: Manifest) -> Table:
    """Training examples by stage, and utterances that no stage uses by reason."""
    table = _table("Training examples")
    table.add_column("stage")
    table.add_column("examples", justify="right")
    for stage in ("s2t", "t2c", "echo"):
        table.add_row(stage, f"{manifest.statistics['examples'].get(stage, 0):,}")
    for reason, count in manifest.statistics["unused"].items():
        table.add_row(f"unused: {reason}", f"{count:,}")
    return table


def lineage_table(manifest: Manifest) -> Table:
    """What the version was made from and with."""
    made = lineage(manifest)
    table = Table(
        title=f"Version {manifest.version} of {manifest.store}",
        title_justify="left",
        show_header=False,
        box=None,
    )
    table.add_row("parent", str(manifest.parent or "none"))
    table.add_row("created", manifest.created)
    table.add_row("entries", f"{manifest.statistics['entries']:,}")
    table.add_row("features", ", ".join(f"{name} {value}" for name, value in made["features"].items()))
    for name, fingerprint in made["artifacts"].items():
        table.add_row(name, fingerprint)
    for source in made["sources"]:
        table.add_row(f"source {source['dataset']}", f"{source['kind']} {source['path']}")
    table.add_row("versions", ", ".join(f"{name} {number}" for name, number in made["versions"].items()))
    return table


def versions_table(manifests: Sequence[Manifest]) -> Table:
    """One row a version; times are UTC, as everywhere."""
    table = _table("Versions")
    for name in ("version", "created"):
        table.add_column(name, no_wrap=True)
    for name in ("hours", "utterances", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("quantizer", "unit\nlanguage"):
        table.add_column(name, no_wrap=True)
    for manifest in manifests:
        total = overall(from_manifest(manifest.statistics))
        table.add_row(
            str(manifest.version),
            f"{datetime.fromisoformat(manifest.created):%Y-%m-%d %H:%M}",
            f"{total.hours:,.3f}",
            f"{total.utterances:,}",
            f"{total.compression.total_ratio:.2f}x",
            *(manifest.artifacts[name].fingerprint[:8] for name in ("quantizer", "unit_language")),
        )
    return table


def page(manifest: Manifest) -> str:
    """The tables as one HTML page without scripts or links."""
    console = Console(record=True, file=io.StringIO(), width=PAGE_WIDTH, markup=False)
    console.print(tables(manifest))
    return console.export_html(inline_styles=True)
