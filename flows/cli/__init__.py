"""The `echox` command. Every module of this package is one of its commands, found by being there."""

import logging
from importlib import import_module
from importlib.metadata import version
from pkgutil import iter_modules
from typing import Annotated

import typer
from rich.logging import RichHandler

from flows.command import PANELS, Command, LogFormat, Terminal
from pipelines.boundary import guarded

NAME = "echox"


def main() -> None:
    """Run the `echox` command and exit with its code."""
    handler = RichHandler(console=Terminal(stderr=True), show_path=False)
    handler.setFormatter(LogFormat("%(message)s", datefmt="%X"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for package in ("pipelines", "storage", "unitlang"):
        logging.getLogger(package).setLevel(logging.INFO)
    guarded(lambda: app()(prog_name=NAME))


def app() -> typer.Typer:
    """The command with all its subcommands."""
    made = typer.Typer(
        name=NAME,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help="Build unit-language corpora from speech, and train EchoX on them.",
    )
    made.callback()(_options)
    for command in commands():
        made.command(rich_help_panel=command.panel, epilog=f"Example: {command.example}")(command.run)
    return made


def commands() -> list[Command]:
    """All commands, in the order of `echox --help`."""
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    found: list[Command] = [module.COMMAND for module in modules]
    return sorted(found, key=lambda command: (PANELS.index(command.panel), command.rank, command.name))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"{NAME} {version(NAME)}")  # noqa: T201
        raise typer.Exit


def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself."""
