"""Artifacts of a run in the UI of a Prefect server. The store holds the same facts for users without a server."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.exceptions import PrefectException

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
from pipelines.build.commit import Built
from pipelines.config.build import BuildConfig
from storage.store import Store
from storage.versions import load
from unitlang.printing import shown


def publish_artifacts(facts: Facts, report: str, changes: Mapping[str, str]) -> None:
    """Publish what the build changed and the compression as tables, the facts as a page, and the report.

    Args:
        facts: facts of the version.
        report: URL or path of its report in the store.
        changes: see `changes_of`.
    """
    rows = [{"what": shown(name), "value": shown(value)} for name, value in changes.items()]
    create_table_artifact(rows, key="changes", description="What this build changed")
    compression = compression_grid(facts)
    headings = [column.name for column in compression.columns]
    rows = [dict(zip(headings, map(shown, row), strict=True)) for row in compression.rows]
    create_table_artifact(rows, key="compression", description=compression.note)
    create_markdown_artifact(
        markdown(facts, report), key="corpus", description=shown(f"{facts['store']}@{facts['version']}")
    )
    publish_report(facts, report)


def publish_report(facts: Facts, report: str) -> None:
    """Publish the report: a link to a file; of a bucket, which no browser opens, its tables and how to fetch it."""
    title = f"report of version {facts['version']}"
    if "://" in report:
        create_markdown_artifact(fetchable(facts, report), key="report", description=title)
    else:
        create_link_artifact(Path(report).absolute().as_uri(), key="report", link_text=title)


def fetchable(facts: Facts, report: str) -> str:
    """Return the tables of a report in a bucket as Markdown, and the commands that show and fetch it."""
    commands = f"echox inspect {facts['store']}@{facts['version']}\naws s3 cp {report} report.html"
    return f"{markdown(facts, report)}\n{_table(compression_grid(facts))}\n\n```\n{shown_block(commands)}\n```\n"


def shown_block(text: str) -> str:
    """Return lines that neither act nor end a block of code."""
    return "\n".join(shown(line).replace("`", "'") for line in text.split("\n"))


def publish_failure(step: str, error: Exception) -> None:
    """Publish why a step stopped the build, for instance too many rejects, unless the server does not answer."""
    page = f"Step `{step}` stopped the build:\n\n```\n{shown_block(str(error))}\n```\n"
    with suppress(httpx.HTTPError, PrefectException):
        create_markdown_artifact(page, key="failure", description=f"why step {step} stopped the build")


def changes_of(done: Built, config: BuildConfig) -> dict[str, str]:
    """Changes by a build: the version before and after, counts of entries, and sources that have moved.

    Args:
        done: the build.
        config: its config.

    Raises:
        StorageError: the version before cannot be read.
    """
    version = done.version
    told = {"version": done.step if done.new else f"{version.number} (nothing to do)"}
    told |= {name: f"{count:,}" for name, count in done.changes.words.items()}
    before = version
    if done.new and version.parent is not None:
        before = load(Store.open(version.store), version.parent)
    elif done.new:
        return told
    old = {source["dataset"]: _place(source) for source in before.config["sources"]}
    for source in config.model_dump(mode="json")["sources"]:
        name, place = source["dataset"], _place(source)
        if old.get(name, place) != place:
            told[f"moved source {name}"] = f"{old[name]} -> {place}"
    return told


def _place(source: Mapping[str, str | None]) -> str:
    return str(source.get("audio_dir") or source["path"])


def in_words(changes: Mapping[str, str]) -> str:
    """The changes as one line for the log."""
    return "; ".join(f"{name}: {value}" for name, value in changes.items())


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
