"""Options that the command lines share; imports nothing heavy, so that `--help` is fast."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Argument(help="YAML file; docs/config.md describes its fields.", show_default=False)]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field; the value is YAML. May be given several times."),
]
StorePlace = Annotated[str | None, typer.Option("--store", help="Folder or s3:// URL, instead of the config's.")]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="HOST:PORT of a Ray cluster for the large steps, or http://HOST:PORT of its job server: the build "
        "then runs as a job; default: a local Ray.",
    ),
]
