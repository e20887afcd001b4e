"""Training a stage: the one interface that the command line and Ray call. Importing it is cheap; `check` is too."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from echox.errors import EchoxError

if TYPE_CHECKING:
    from echox.recipes.run import Run

Stage = Literal["s2t", "t2c", "echo"]
REQUIRED: Mapping[Stage, tuple[Stage, ...]] = {"s2t": (), "t2c": (), "echo": ("s2t", "t2c")}
"""Stages that a stage stands on."""


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What to train.

    Attributes:
        stage: `s2t`, `t2c` or `echo`.
        corpus: STORE@VERSION.
        preset: a name of `echox.presets`, or a YAML file of an architecture.
        out: the run's folder, on a disk that all workers see.
        parts: folders of finished runs that this one stands on, by stage: both others for echo.
        settings: FIELD=VALUE of the stage's configuration, values in YAML.
    """

    stage: Stage
    corpus: str
    preset: str
    out: str
    parts: Mapping[str, str] = field(default_factory=dict[str, str])
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingResult:
    """What came out.

    Attributes:
        steps: optimizer steps.
        metrics: the last validation's.
        checkpoint: folder of the best model.
    """

    steps: int
    metrics: dict[str, float]
    checkpoint: str


def check(request: TrainingRequest) -> None:
    """Whether the request can be trained, in a second or two.

    Raises:
        EchoxError: naming the field and the remedy.
        StorageError: there is no such corpus, or it is a candidate that nobody approved.
    """
    from echox.data.corpus import Corpus, hold_out
    from echox.presets import load_architecture
    from echox.recipes.run import open_parts
    from echox.recipes.settings import load_settings
    from storage.approvals import check_trainable

    config = load_settings(request.stage, request.preset, request.settings)
    load_architecture(request.preset)
    corpus = Corpus.open(request.corpus)
    check_trainable(corpus.store, corpus.manifest)
    hold_out(corpus, request.stage, config.data.held_out)
    check_parts(request, corpus.fingerprints, open_parts(request.parts))


def check_parts(request: TrainingRequest, fingerprints: Mapping[str, str], runs: Mapping[str, "Run"]) -> None:
    """Whether finished runs are there, of this corpus' words and of one architecture.

    Raises:
        EchoxError: naming the run and the remedy.
    """
    if missing := [stage for stage in REQUIRED[request.stage] if stage not in runs]:
        names = " and ".join(f"--{stage}" for stage in missing)
        raise EchoxError(f"stage {request.stage} stands on finished runs: name {names}")
    for stage, run in runs.items():
        _ = run.weights
        for kind, fingerprint in fingerprints.items():
            if run.card.fingerprints[kind] != fingerprint:
                raise EchoxError(f"--{stage} {run.folder}: was trained with another {kind} than {request.corpus} has")
        if run.card.preset != request.preset:
            raise EchoxError(f"--{stage} {run.folder}: is of preset {run.card.preset}, not {request.preset}")
    if len({run.card.fingerprints["tokenizer"] for run in runs.values()}) > 1:
        folders = " and ".join(str(run.folder) for run in runs.values())
        raise EchoxError(f"{folders}: have different tokenizers; train both on one version of the corpus")


def train(request: TrainingRequest, report: Callable[[Mapping[str, float]], None]) -> TrainingResult:
    """Train in this process, one of as many as WORLD_SIZE says; goes on where the run in `request.out` stopped.

    The environment variables of the process group (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR,
    MASTER_PORT) are the caller's; without them it is the only process.

    Args:
        request: what to train.
        report: gets the metrics of each logging step and validation, on rank 0.

    Raises:
        EchoxError: as `check`; or the folder holds another run.
    """
    check(request)
    from echox.recipes.history import check_workers, last_validation
    from echox.recipes.run import MODEL
    from echox.recipes.runtime import prepare

    prepare()
    from echox.recipes.running import settle, train_stage

    folder, rank = Path(request.out), int(os.environ.get("RANK", "0"))
    check_workers(folder, int(os.environ.get("WORLD_SIZE", "1")))
    setting = settle(request, write=rank == 0)
    train_stage(request.stage, setting, folder, report if rank == 0 else None)
    return TrainingResult(setting.config.schedule.steps, last_validation(folder), str(folder / MODEL))
