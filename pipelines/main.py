"""Run one step by itself: `python -m pipelines.quantize CONFIG`; earlier steps run too where they are not done."""

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.boundary import guarded
from pipelines.build import StepName, run_until
from pipelines.config import load_config


def run_step(name: StepName) -> None:
    """The command line of one step; commits nothing."""

    def command(
        config: Annotated[Path, typer.Argument(help="YAML file of the build.", show_default=False)],
        set_: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE")] = None,
        store: Annotated[str | None, typer.Option(help="Instead of the config's store.")] = None,
        ray: Annotated[str | None, typer.Option(metavar="ADDRESS")] = None,
    ) -> None:
        console = Console(stderr=True)
        receipts = run_until(load_config(config, set_ or (), store), console, name, ray)
        rows, rejects = sum(r.rows_out for r in receipts), sum(sum(r.rejects.values()) for r in receipts)
        console.print(f"{name}: {len(receipts)} work units, {rows} rows, {rejects} rejects; nothing committed")

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=f"Run the corpus build up to the step `{name}`.")(command)
    guarded(app)
