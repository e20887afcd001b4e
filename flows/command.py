"""Shared parts of the modules in `flows/cli`; imports nothing heavy, so that `--help` is fast."""

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import typer
from rich.console import Console
from rich.text import Text

from unitlang.printing import json_text, shown, shown_lines

Panel = Literal["Build", "Look", "Keep", "Train", "Speak"]
"""Headings of `echox --help`."""
PANELS: tuple[Panel, ...] = get_args(Panel)
"""In the order of the help; a panel without commands is not shown."""

CorpusArgument = Annotated[
    str, typer.Argument(help="Store, or STORE@VERSION.", metavar="STORE[@VERSION]", show_default=False)
]
StoreArgument = Annotated[str, typer.Argument(help="Folder or s3:// URL.", show_default=False)]


@dataclass(frozen=True)
class Command:
    """A command of `echox`. Each module of `flows/cli` holds one under the name `COMMAND`.

    Attributes:
        run: the function; its parameters are the arguments and options, its docstring is the help.
        panel: heading under which `echox --help` lists it.
        example: a command line to show in its help.
        rank: position in the panel; commands of one rank are sorted by name.
    """

    run: Callable[..., None]
    panel: Panel
    example: str
    rank: int = 0

    @property
    def name(self) -> str:
        """The word that follows `echox`."""
        return self.run.__name__


def print_json(values: Mapping[str, Any], indent: int | None = 1) -> None:
    """Print JSON on standard output."""
    print(json_text(values, indent))  # noqa: T201


def say(text: str) -> None:
    """Print one line for people on standard output."""
    print(shown(text))  # noqa: T201


def complain(text: str) -> None:
    """Print one line for people on standard error."""
    print(shown(text), file=sys.stderr, flush=True)  # noqa: T201


class Terminal(Console):
    """Shows tables and lines; what names and texts hold neither acts in the terminal nor counts as markup."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render_str(self, text: str, **how: Any) -> Text:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Style a text that is to be shown: a line, a cell or a title; line ends are the program's own."""
        return super().render_str(shown_lines(text), **how)


class LogFormat(logging.Formatter):
    """Formats log records for people: the message as one line, a traceback as several."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - named by `logging`
        """Format all but the traceback."""
        return shown(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Format the traceback."""
        return shown_lines(super().formatException(ei))
