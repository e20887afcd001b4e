"""`echox build`: build a corpus, or run its steps up to one."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command import Command, Terminal, print_json
from pipelines.options import Changes, ConfigFile, RayAddress, StorePlace

if TYPE_CHECKING:
    from pipelines.build.commit import Built
    from pipelines.config.build import BuildConfig
    from pipelines.engine.state import BuildState

NEEDS_A_LOOK = 3
"""Exit code of a build whose version a person must approve."""
SERVER_RETRIES = "9"
"""Retries of a request to Prefect's server, with doubling pauses: minutes. Prefect's default of 5 lasts one minute."""


def _complete(incomplete: str) -> list[str]:
    """Step names for the completion of the shell."""
    from pipelines.steps import step_names

    return [name for name in step_names() if name.startswith(incomplete)]


Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="STEP",
        autocompletion=_complete,
        help="Run the steps up to this one and commit nothing: ingest, fit_quantizer, quantize, ...",
    ),
]


Recompute = Annotated[
    list[str] | None,
    typer.Option(
        "--recompute",
        metavar="STEP",
        autocompletion=_complete,
        help="Do the work of this step again where an earlier revision of the program did it. Repeatable.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show what the build would do, and how much work that is; nothing is written."),
]
AsJson = Annotated[bool, typer.Option("--json", help="With --dry-run: print the answer as JSON.")]
Rehash = Annotated[
    bool,
    typer.Option("--rehash", help="Read all known files again, to find those replaced without another size or time."),
]
RetryRejects = Annotated[
    bool,
    typer.Option("--retry-rejects", help="Try all rejected entries again, although nothing about them has changed."),
]


def build(
    config: ConfigFile,
    changes: Changes = None,
    store: StorePlace = None,
    ray: RayAddress = None,
    until: Until = None,
    rehash: Rehash = False,
    retry_rejects: RetryRejects = False,
    recompute: Recompute = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Build a corpus, or bring it up to date. Finished work is skipped.

    With PREFECT_API_URL set, the build reports to that Prefect server; with --until it does not.
    """
    from pipelines.config.build import load_config

    _check_options(until, dry_run=dry_run, as_json=as_json)
    out = Terminal(stderr=True)
    asked = {
        "run.rehash=true": rehash,
        "run.retry_rejects=true": retry_rejects,
        f"recompute={recompute}": bool(recompute),
    }
    values = load_config(config, [*(changes or ()), *(change for change, wanted in asked.items() if wanted)], store)
    if dry_run:
        _show_outlook(values, ray, as_json=as_json)
    elif until is not None:
        _run_until(values, out, until, ray)
    else:
        _report(_build(values, out, ray), out)


def _check_options(until: str | None, *, dry_run: bool, as_json: bool) -> None:
    from pipelines.errors import UserError

    if as_json and not dry_run:
        raise UserError("--json: only --dry-run prints JSON; `echox inspect STORE --json` has the facts of a version")
    if dry_run and until is not None:
        raise UserError("--until: --dry-run always shows all steps; leave one of them out")


def _show_outlook(config: "BuildConfig", ray: str | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from flows.report.outlook import outlook_tables
    from pipelines.outlook.outlook import outlook

    found = outlook(config, ray)
    if as_json:
        print_json(asdict(found))
    else:
        Terminal().print(outlook_tables(found))


def _run_until(config: "BuildConfig", out: Terminal, step: str, ray: str | None) -> None:
    from pipelines.build.build import run_until

    made = run_until(config, out, step, ray)
    out.print(f"{step}: {_summary(made, step)}; nothing committed", soft_wrap=True)


def _summary(made: "BuildState", step: str) -> str:
    """Result of the step: an artifact, or rows."""
    if artifact := made.artifacts.get(step.removeprefix("fit_")):
        return f"{artifact.kind} in {made.session.store.url(artifact.path)}"
    receipts = made.steps[step]
    rows = sum(receipt.rows_out for receipt in receipts)
    rejects = sum(sum(receipt.rejects.values()) for receipt in receipts)
    return f"work units: {len(receipts)}, rows: {rows}, rejects: {rejects}"


def _build(config: "BuildConfig", out: Terminal, ray: str | None) -> "Built":
    """Build in this process, or as a flow run where there is a Prefect server."""
    if "PREFECT_API_URL" in os.environ:
        os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", SERVER_RETRIES)
        from flows.corpus import build_as_flow

        return build_as_flow(config, ray)
    from pipelines.build.build import build as build_corpus

    return build_corpus(config, out, ray)


def _report(built: "Built", out: Terminal) -> None:
    """Write the report of the version into the store, and show what was made."""
    from flows.report.facts import facts
    from flows.report.html import leave_report
    from flows.report.terminal import tables
    from storage.store import Store

    version = built.version
    store = Store.open(version.store)
    found = facts(store, version)
    report = leave_report(store, found)
    if built.new:
        Terminal().print(tables(found))
        made = f"version {built.step} of {version.store}; entries: {built.changes}; report: {report}"
        out.print(made, soft_wrap=True)
    else:
        same = f"version {version.number} of {version.store} is up to date; entries: {built.changes}"
        out.print(f"nothing to do: {same}", soft_wrap=True)
    if found["status"] == "candidate":
        out.print(f"needs a look: {'; '.join(version.review)}; then: echox approve {version.uri}", soft_wrap=True)
        raise typer.Exit(NEEDS_A_LOOK)


COMMAND = Command(
    build, "Build", "echox build examples/sample.yaml --set quantizer.k=200 --store s3://bucket/corpus", rank=-1
)
