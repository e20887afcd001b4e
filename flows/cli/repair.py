"""`echox repair`: compute missing and damaged files again."""

import typer
from rich.text import Text

from flows.command import Command, CorpusArgument, Terminal, complain, say
from unitlang.printing import shown


def repair(corpus: CorpusArgument) -> None:
    """Compute missing and damaged files of a version again; write those that are proved to be what was written.

    It reads all files of the version. The exit code is 2 if a file is still missing or damaged.
    """
    from pipelines.build.repair import repair as repaired
    from storage.versions import resolve

    store, version = resolve(corpus)
    done = left = 0
    with Terminal(stderr=True).status(Text(shown(f"reading {version.uri}"))):
        for found in repaired(store, version):
            if found.fault:
                left += 1
                complain(f"error: {store.url(found.path)}: {found.fault}")
            else:
                done += 1
                say(f"{store.url(found.path)}: {found.done}")
    if left:
        complain(f"{version.uri}: {left} files are still missing or damaged")
        raise typer.Exit(2)
    say(f"{version.uri}: {done} files repaired" if done else f"{version.uri}: nothing to repair")


COMMAND = Command(repair, "Keep", "echox repair examples/sample-corpus")
