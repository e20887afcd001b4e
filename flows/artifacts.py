"""Artifacts of a run in the UI of a Prefect server. The store holds the same facts for users without a server."""

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.report.grids import (
    Grid,
    compression_grid,
    corpus_grid,
    examples_grid,
    licences_grid,
    lineage_rows,
    rejects_grid,
    shared_audio_grid,
)
from flows.report.records import Facts
from unitlang.printing import shown


def publish_artifacts(facts: Facts, report: str) -> None:
    """Publish the compression as a table, hours, rejects and lineage as a page, and a link to the report.

    Args:
        facts: facts of the version.
        report: URL or path of its report in the store.
    """
    compression = compression_grid(facts)
    headings = [column.name for column in compression.columns]
    rows = [dict(zip(headings, map(shown, row), strict=True)) for row in compression.rows]
    create_table_artifact(rows, key="compression", description=compression.note)
    create_markdown_artifact(
        markdown(facts, report), key="corpus", description=shown(f"{facts['store']}@{facts['version']}")
    )
    link = report if "://" in report else f"file://{report}"
    create_link_artifact(link, key="report", link_text=f"report of version {facts['version']}")


def markdown(facts: Facts, report: str) -> str:
    """Return the facts of a version as a Markdown page."""
    parts = [f"# Version {facts['version']} of {_code(facts['store'])}"]
    if facts["review"]:
        parts += [f"**{facts['status']}**", *(f"- {shown(reason)}" for reason in facts["review"])]
    found = (corpus_grid, licences_grid, shared_audio_grid, rejects_grid, examples_grid)
    grids = [grid(facts) for grid in found]
    parts += [_table(grid) for grid in grids if grid.rows]
    parts += ["## Lineage", "\n".join(f"- {shown(name)}: {_code(text)}" for name, text in lineage_rows(facts))]
    parts += [f"Store: {_code(facts['store'])}", f"Report: {_code(report)}"]
    return "\n\n".join(parts) + "\n"


def _table(grid: Grid) -> str:
    lines = [_row([column.name for column in grid.columns]), "|" + " --- |" * len(grid.columns), *map(_row, grid.rows)]
    return f"## {grid.title}\n\n" + "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(shown(cell).replace("|", "\\|") for cell in cells) + " |"


def _code(text: str) -> str:
    return "`" + shown(text).replace("`", "'") + "`"
