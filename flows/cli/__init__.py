"""The `echox` command. Every module of this package is one of its commands, found by being there."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pkgutil import iter_modules
from typing import Annotated, Any

import typer
from rich.logging import RichHandler
from typer.core import TyperGroup
from typer.exceptions import TyperException

from flows.command import PANELS, Command, LogFormat, Terminal
from pipelines.boundary import guarded
from unitlang.printing import shown_lines

NAME = "echox"


class ShownErrors(TyperGroup):
    """The command with messages of its usage errors that are fit for people, because they repeat what was typed."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the command line up to the subcommand."""
        with _shown():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Parse the rest of the command line, and run the subcommand."""
        with _shown():
            return super().invoke(ctx)


@contextmanager
def _shown() -> Generator[None]:
    try:
        yield
    except TyperException as error:
        text = shown_lines(error.format_message())
        error.format_message = lambda: text
        raise


def main() -> None:
    """Run the `echox` command and exit with its code."""
    handler = RichHandler(console=Terminal(stderr=True), show_path=False)
    handler.setFormatter(LogFormat("%(message)s", datefmt="%X"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for package in ("echox", "pipelines", "storage", "unitlang"):
        logging.getLogger(package).setLevel(logging.INFO)
    guarded(lambda: app()(prog_name=NAME))


def app() -> typer.Typer:
    """The command with all its subcommands."""
    made = typer.Typer(
        name=NAME,
        cls=ShownErrors,
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
