"""`echox train`: one training stage, in this process."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from echox.errors import EchoxError
from echox.renamed import warn_renamed
from echox.stages import check_stage, stage_names
from echox.training import TrainingRequest
from flows.command import Command, complain, print_json
from pipelines.options import Changes

StageArgument = Annotated[str, typer.Argument(metavar="STAGE", help=f"Stage to train: {', '.join(stage_names())}.")]
CorpusOption = Annotated[str, typer.Option("--corpus", metavar="STORE[@VERSION]", help="Corpus to train on.")]
ArchitectureOption = Annotated[
    str | None,
    typer.Option(
        "--architecture",
        metavar="NAME|FILE",
        help="Required: tiny, echox-3b, echox-8b, or a YAML file of an architecture.",
    ),
]
Out = Annotated[str, typer.Option("--out", metavar="RUN", help="Folder of the run; an unfinished run is resumed.")]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="STAGE=RUN",
        help="Finished run that the stage starts from. May be given several times.",
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        "--init",
        metavar="RUN|FOLDER",
        help="Values of the trained weights: a finished run of the stage, or a folder with model.safetensors.",
        show_default=False,
    ),
]
OldArchitecture = Annotated[str | None, typer.Option("--preset", hidden=True)]
OldS2T = Annotated[str | None, typer.Option("--s2t", hidden=True)]
OldT2C = Annotated[str | None, typer.Option("--t2c", hidden=True)]


def train(
    stage: StageArgument,
    corpus: CorpusOption,
    out: Out,
    architecture: ArchitectureOption = None,
    source: Sources = None,
    init: Init = None,
    changes: Changes = None,
    preset: OldArchitecture = None,
    s2t: OldS2T = None,
    t2c: OldT2C = None,
) -> None:
    """Train a stage on a corpus version. The same command resumes a killed run from its last checkpoint."""
    from echox.training import outlook
    from echox.training import train as train_here
    from flows.training_lines import TrainingLines

    request = TrainingRequest(
        stage=check_stage(stage),
        corpus=corpus,
        architecture=_architecture(architecture, preset),
        out=out,
        source_models=_old_sources(s2t=s2t, t2c=t2c) | dict(map(_source, source or ())),
        settings=tuple(changes or ()),
        init=init,
    )
    if os.environ.get("RANK", "0") != "0":  # one of torchrun's workers tells it for all
        train_here(request, _tell_nobody)
        return
    lines = TrainingLines(outlook(request), complain)
    lines.begin()
    print_json(asdict(train_here(request, lines.show)))


def _tell_nobody(metrics: Mapping[str, float]) -> None:
    """Let the first worker speak."""


def _architecture(architecture: str | None, preset: str | None) -> str:
    if preset is not None:
        warn_renamed("--preset", "--architecture", "echox train")
    name = architecture or preset
    if name is None:
        raise EchoxError("--architecture is missing; give tiny, echox-3b, echox-8b, or a YAML file of an architecture")
    return name


def _source(text: str) -> tuple[str, str]:
    stage, equals, run = text.partition("=")
    if not equals or not run:
        raise EchoxError(f"--source {text}: write STAGE=RUN, for instance --source {stage_names()[0]}=runs/first")
    return check_stage(stage), run


def _old_sources(**runs: str | None) -> dict[str, str]:
    sources = {stage: run for stage, run in runs.items() if run is not None}
    for stage in sources:
        warn_renamed(f"--{stage} RUN", f"--source {stage}=RUN", "echox train")
    return sources


COMMAND = Command(train, "Train", "echox train t2c --corpus examples/sample-corpus --architecture tiny --out runs/t2c")
