"""`echox export`: a corpus version in a layout that other programs read."""

import os
from pkgutil import iter_modules
from typing import Annotated, Any

import typer

from flows.command import Command, CorpusArgument
from pipelines.export import formats

NAMES = sorted(module.name for module in iter_modules(formats.__path__))
"""The formats, without importing them: a module has the name of its format."""


def export(
    corpus: CorpusArgument,
    folder: Annotated[
        str, typer.Argument(help="New or empty folder, or that of an unfinished export.", show_default=False)
    ],
    format: Annotated[  # noqa: A002 - the name of the option
        str, typer.Option(help=f"Layout to write: {', '.join(NAMES)}.", metavar="NAME", show_default=False)
    ],
    shard_hours: Annotated[float, typer.Option(min=0.001, help="Audio of a file at most, in hours.")] = 2.0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Files written at a time; default: one a core.", show_default=False)
    ] = None,
) -> None:
    """Export a version: audio, texts, units and words, for datasets, lhotse, WebDataset, Kaldi or ESPnet.

    If the export is killed, run the same command again: finished files stay.
    """
    from rich.console import Console

    from pipelines.export.run import Request, local_folder
    from pipelines.export.run import export as write
    from storage.versions import resolve

    store, version = resolve(corpus)
    cores = len(os.sched_getaffinity(0))
    request = Request(store, version, local_folder(folder), format, shard_hours, threads or cores)
    facts = write(request, Console(stderr=True))
    print(_summary(folder, version.uri, facts))  # noqa: T201


def _summary(folder: str, uri: str, facts: dict[str, Any]) -> str:
    from unitlang.frames import SAMPLE_RATE

    files = facts["files"]
    size, hours = sum(file["bytes"] for file in files) / 1e6, facts["samples"] / SAMPLE_RATE / 3600
    text = f"{folder}: {uri} as {facts['format']}; {facts['utterances']} utterances, {hours:.3f} h"
    left = ", ".join(f"{count} {reason}" for reason, count in facts["left_out"].items())
    return f"{text}, {len(files)} files, {size:.1f} MB" + (f"; left out: {left}" if left else "")


COMMAND = Command(export, "Keep", "echox export examples/sample-corpus exported --format hf", rank=1)
