"""`echox train`: one of EchoX's three training stages, in this process."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from echox.training import Stage, TrainingRequest
from flows.command import Command
from pipelines.options import Changes

CorpusOption = Annotated[str, typer.Option("--corpus", metavar="STORE[@VERSION]", help="What to learn from.")]
Preset = Annotated[str, typer.Option("--preset", help="tiny, echox-3b, echox-8b, or a YAML file of an architecture.")]
Out = Annotated[str, typer.Option("--out", metavar="RUN", help="Folder of the run; a run that is there goes on.")]
S2TRun = Annotated[str | None, typer.Option("--s2t", metavar="RUN", help="Finished run of stage s2t to stand on.")]
T2CRun = Annotated[str | None, typer.Option("--t2c", metavar="RUN", help="Finished run of stage t2c to stand on.")]


def train(
    stage: Annotated[Stage, typer.Argument(help="s2t: speech to text; t2c: text to words; echo: speech to words.")],
    corpus: CorpusOption,
    preset: Preset,
    out: Out,
    s2t: S2TRun = None,
    t2c: T2CRun = None,
    changes: Changes = None,
) -> None:
    """Train a stage from a corpus version; killed, the same command goes on from the last checkpoint."""
    from echox.training import check
    from echox.training import train as train_stage

    parts = {name: folder for name, folder in (("s2t", s2t), ("t2c", t2c)) if folder is not None}
    request = TrainingRequest(
        stage=stage, corpus=corpus, preset=preset, out=out, parts=parts, settings=tuple(changes or ())
    )
    check(request)
    result = train_stage(request, show)
    if os.environ.get("RANK", "0") == "0":  # one of torchrun's workers is enough
        print(json.dumps(asdict(result), indent=1))  # noqa: T201


def show(metrics: Mapping[str, float]) -> None:
    """One line of metrics on standard error."""
    words = [f"{name} {value:.5g}" for name, value in metrics.items() if not name.endswith("_time")]
    print(", ".join(words), file=sys.stderr, flush=True)  # noqa: T201


COMMAND = Command(train, "Train", "echox train t2c --corpus examples/sample-corpus --architecture tiny --out runs/t2c")
