"""Shared parts of the modules in `flows/cli`; imports nothing heavy, so that `--help` is fast."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import typer

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
    print(json.dumps(values, indent=indent, ensure_ascii=False))  # noqa: T201
