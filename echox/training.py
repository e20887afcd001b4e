"""Training of one stage: the interface that the command line and Ray call. Importing it is cheap."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echox.errors import EchoxError
from unitlang.urls import redacted

if TYPE_CHECKING:
    from echox.data.corpus import Corpus
    from echox.outlook import Outlook
    from echox.recipes.config import StageConfig
    from echox.recipes.folder import RunFolder
    from echox.recipes.stage import Stage


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """Request to train one stage.

    Attributes:
        stage: name of a stage, see `echox.stages`.
        corpus: STORE@VERSION.
        architecture: a name of `echox.architectures`, or a YAML file of an architecture.
        out: folder of the run, on a disk that all workers share.
        source_models: folders of the finished runs that this one needs, by stage.
        settings: FIELD=VALUE of the stage's configuration, values in YAML.
        init: values of the trained weights: the folder of a finished run of the stage, or one with `model.safetensors`.
    """

    stage: str
    corpus: str
    architecture: str
    out: str
    source_models: Mapping[str, str] = field(default_factory=dict[str, str])
    settings: tuple[str, ...] = ()
    init: str | None = None


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a finished run.

    Attributes:
        steps: optimizer steps.
        best_step: step of the best model, which was kept.
        metrics: metrics of its validation.
        checkpoint: its folder.
    """

    steps: int
    best_step: int
    metrics: dict[str, float]
    checkpoint: str


def check(request: TrainingRequest) -> None:
    """Check, in a few seconds, that the request can be trained.

    Raises:
        EchoxError: stage, settings, architecture, data or source models do not fit; names the field and the remedy.
        StorageError: there is no such corpus, or it is a candidate that nobody approved.
    """
    _checked(request)


def outlook(request: TrainingRequest) -> "Outlook":
    """Check a request as `check` does, and return the extent of its training.

    Raises:
        EchoxError, StorageError: as `check`.
    """
    from echox.outlook import outlook_of

    return outlook_of(*_checked(request))


def _checked(request: TrainingRequest) -> "tuple[type[Stage[Any, Any, Any]], StageConfig, Corpus]":
    """Check all of a request; return its stage, settings and corpus."""
    from echox.recipes.folder import open_sources
    from echox.recipes.settings import load_settings

    stage, corpus = check_without_sources(request)
    sources = open_sources(request.source_models)
    check_sources(request, stage.stands_on, corpus.fingerprints, sources)
    config = load_settings(stage, request.architecture, request.settings)
    stage.check(config, corpus, sources)
    return stage, config, corpus


def check_without_sources(request: TrainingRequest) -> "tuple[type[Stage[Any, Any, Any]], Corpus]":
    """Check all of a request but its source models, which may not be trained yet; return its stage and corpus.

    Raises:
        EchoxError: stage, settings, architecture or data do not fit; names the field and the remedy.
        StorageError: there is no such corpus, or it is a candidate that nobody approved.
    """
    from echox.architectures import load_architecture
    from echox.data.corpus import Corpus, hold_out, recall_read_contents
    from echox.recipes.folder import CONTENTS, find_weights
    from echox.recipes.settings import load_settings
    from echox.stages import stage_class
    from storage.approvals import check_trainable

    _check_no_secret(request)
    stage = stage_class(request.stage)
    config = load_settings(stage, request.architecture, request.settings)
    load_architecture(request.architecture)
    if request.init is not None:
        find_weights(Path(request.init))
    corpus = Corpus.open(request.corpus)
    check_trainable(corpus.store, corpus.version)
    if int(os.environ.get("RANK", "0")) == 0:  # one worker tells it for all, and lets the others know what it read
        recall_read_contents(Path(request.out) / CONTENTS)
        hold_out(corpus, stage.table, config.data.valid_fraction, stage.fed_by)
    return stage, corpus


def _check_no_secret(request: TrainingRequest) -> None:
    """Refuse a request whose URLs hold secrets, because the run's folder and the model's card repeat it."""
    places = (request.corpus, request.architecture, request.out, request.init or "", *request.source_models.values())
    texts = (*places, *request.settings)
    for text in texts:
        if redacted(text) != text:
            raise EchoxError(f"{redacted(text)}: holds a password, token or signature; leave it out")


def check_sources(
    request: TrainingRequest,
    stands_on: tuple[str, ...],
    fingerprints: Mapping[str, str],
    sources: Mapping[str, "RunFolder"],
) -> None:
    """Check that the source models are finished, share the corpus' words and have one architecture.

    Args:
        request: what to train.
        stands_on: stages whose finished runs are needed.
        fingerprints: fingerprints of the corpus' quantizer and unit language.
        sources: the runs that were given, by stage.

    Raises:
        EchoxError: a run is missing or does not fit; names the run and the remedy.
    """
    if missing := [stage for stage in stands_on if stage not in sources]:
        options = " ".join(f"--source {stage}=RUN" for stage in missing)
        needed = " and ".join(missing)
        raise EchoxError(f"stage {request.stage} needs a finished run of {needed}; add {options}")
    for stage, run in sources.items():
        _check_source(request, fingerprints, f"--source {stage}={run.folder}", run)
    if len({run.card.fingerprints["tokenizer"] for run in sources.values()}) > 1:
        folders = " and ".join(str(run.folder) for run in sources.values())
        raise EchoxError(f"{folders}: have different tokenizers; train both on one version of the corpus")


def _check_source(request: TrainingRequest, fingerprints: Mapping[str, str], option: str, run: "RunFolder") -> None:
    run.check_words(option, fingerprints, request.corpus)
    if run.card.architecture_name != request.architecture:
        problem = f"has architecture {run.card.architecture_name}, not {request.architecture}"
        raise EchoxError(f"{option}: {problem}; train both with the same --architecture")


def train(request: TrainingRequest, report: Callable[[Mapping[str, float]], None]) -> TrainingResult:
    """Train in this process, one of WORLD_SIZE; resume the run in `request.out` if there is one.

    The caller sets the environment variables of the process group (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE,
    MASTER_ADDR, MASTER_PORT); without them this is the only process.

    Args:
        request: what to train.
        report: receives the metrics of each logging step and validation, on rank 0.

    Raises:
        EchoxError: as `check`; or the folder holds another run.
    """
    check(request)
    from echox.recipes.folder import MODEL
    from echox.recipes.history import best_step, check_workers, validation_at
    from echox.stages import stage_class, text_columns
    from echox.trainer.runtime import prepare

    prepare()
    from echox.recipes.launch import run_recipe, settle

    folder, rank = Path(request.out), int(os.environ.get("RANK", "0"))
    check_workers(folder, int(os.environ.get("WORLD_SIZE", "1")))
    stage = settle(request, stage_class(request.stage), text_columns(), write=rank == 0)
    run_recipe(stage, folder, report if rank == 0 else None)
    best = best_step(folder)
    return TrainingResult(stage.setting.config.schedule.steps, best, validation_at(folder, best), str(folder / MODEL))
