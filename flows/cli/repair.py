"""`echox repair`: compute missing and damaged files again."""

import sys

import typer

from flows.command import Command, CorpusArgument


def repair(corpus: CorpusArgument) -> None:
    """Compute missing and damaged files of a version again; write those that are proved to be what was written.

    It reads all files of the version. The exit code is 2 if a file is still missing or damaged.
    """
    from rich.console import Console

    from pipelines.build.repair import repair as repaired
    from storage.versions import resolve

    store, version = resolve(corpus)
    done = left = 0
    with Console(stderr=True).status(f"reading {version.uri}"):
        for found in repaired(store, version):
            if found.fault:
                left += 1
                print(f"error: {store.url(found.path)}: {found.fault}", file=sys.stderr)  # noqa: T201
            else:
                done += 1
                print(f"{store.url(found.path)}: {found.done}")  # noqa: T201
    if left:
        print(f"{version.uri}: {left} files are still missing or damaged", file=sys.stderr)  # noqa: T201
        raise typer.Exit(2)
    print(f"{version.uri}: {done} files repaired" if done else f"{version.uri}: nothing to repair")  # noqa: T201


COMMAND = Command(repair, "Keep", "echox repair examples/sample-corpus")
