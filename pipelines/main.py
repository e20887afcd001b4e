"""Run a build up to one step."""

import logging

import typer
from rich.console import Console

from pipelines.boundary import guarded
from pipelines.build.build import run_until
from pipelines.build.state import Build, StepName
from pipelines.config.build import load_config
from pipelines.options import Changes, ConfigFile, RayAddress, StorePlace


def run_step(name: StepName) -> None:
    """The command line of one step; commits nothing."""

    def command(config: ConfigFile, changes: Changes = None, store: StorePlace = None, ray: RayAddress = None) -> None:
        console = Console(stderr=True, markup=False)
        made = run_until(load_config(config, changes or (), store), console, name, ray)
        console.print(f"{name}: {summary(made, name)}; nothing committed", soft_wrap=True)

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=f"Run the corpus build up to the step `{name}`.")(command)
    guarded(app)


def summary(made: Build, name: StepName) -> str:
    """What the step made: an artifact, or rows."""
    if artifact := made.artifacts.get(name.removeprefix("fit_")):
        return f"{artifact.kind} in {made.session.store.url(artifact.path)}"
    receipts = made.steps[name]
    rows, rejects = sum(r.rows_out for r in receipts), sum(sum(r.rejects.values()) for r in receipts)
    return f"{len(receipts)} work units, {rows} rows, {rejects} rejects"
