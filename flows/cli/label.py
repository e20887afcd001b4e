"""`echox label`: write what stage echo learns from, once."""

from pathlib import Path
from typing import Annotated

import typer

from flows.command import Command, CorpusArgument, Terminal, print_json, say
from pipelines.options import Changes, RayAddress


def label(
    corpus: CorpusArgument,
    s2t: Annotated[
        Path, typer.Option(metavar="RUN", help="Finished run of s2t, which answers the requests.", show_default=False)
    ],
    t2c: Annotated[
        Path, typer.Option(metavar="RUN", help="Finished run of t2c, which writes the words.", show_default=False)
    ],
    changes: Changes = None,
    batch: Annotated[int, typer.Option(min=1, help="Requests that are answered together.")] = 64,
    ray: RayAddress = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the labels' facts as JSON.")] = False,
) -> None:
    """Write the labels of stage echo for a version: S2T's answers, their segments, and T2C's words of each.

    `echox train echo` with the same runs and settings then reads them. Settings are those of stage echo (`--set
    max_new_tokens=256`), and `run.workers` and the like. The same command resumes after a kill.
    """
    from pipelines.label.options import options
    from pipelines.label.run import LabelRequest
    from pipelines.label.run import label as labelled

    execution, settings = options(changes or ())
    request = LabelRequest(
        corpus=corpus,
        runs={"s2t": str(s2t.absolute()), "t2c": str(t2c.absolute())},
        settings=settings,
        batch=batch,
        execution=execution,
        ray_address=ray,
    )
    made = labelled(request, Terminal(stderr=True))
    facts = made.labels.facts
    if as_json:
        print_json({**facts, "new": made.new})
        return
    rejects = sum(facts["rejects"].values())
    done = "written" if made.new else "are up to date"
    say(f"{corpus}: labels {made.labels.name} {done}: {facts['examples']:,} examples, {rejects:,} rejects")


COMMAND = Command(
    label, "Train", "echox label examples/sample-corpus --s2t runs/s2t --t2c runs/t2c --set max_new_tokens=256", rank=1
)
