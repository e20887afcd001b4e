"""The flows `train-echox` and `refresh`: training stages from a corpus version, and builds that lead to training."""

from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State

from flows.cancellation import cancellation_watched, owner, stop_jobs
from flows.corpus import HeldBack, Summary, build_corpus, needs_a_look, summary_of, worth_trying_again
from flows.relay import errors_shown, relayed
from pipelines.cluster.training import TrainingConfig, check_training, train_stage
from pipelines.config.build import BuildConfig

RETRY_SECONDS = 60
Values = dict[str, Any]


@task(task_run_name="{stage}", retries=1, retry_delay_seconds=RETRY_SECONDS, retry_condition_fn=worth_trying_again)
def train_one(config: TrainingConfig, stage: str, corpus: str, ray: str | None) -> Values:
    """Train one stage; a retry resumes from its last checkpoint."""
    with relayed(), cancellation_watched(ray):
        return train_stage(config, stage, corpus, ray, owner()).to_dict()


@flow(name="train-echox", flow_run_name="train on {corpus}", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def train_echox(corpus: str, training: TrainingConfig, ray: str | None = None) -> list[Values]:
    """Train stages on a corpus version, and register the models in its store.

    Args:
        corpus: STORE@VERSION, or STORE for the last version; no candidate.
        training: which stages, how and where.
        ray: `http://HOST:PORT` of a Ray cluster's job server, or `HOST:PORT` of the cluster; otherwise a Ray of the
            machine that this flow runs on.

    Raises:
        EchoxError, StorageError: as `check_training`, before anything is trained.
    """
    with errors_shown():
        check_training(training, corpus)
    runs = [train_one(training, stage, corpus, ray) for stage in training.stages]
    rows = [{"run": run["name"], "steps": run["steps"], **run["metrics"]} for run in runs]
    create_table_artifact(rows, key="training", description=f"Last validation of each stage on {corpus}")
    return runs


@flow(name="refresh", flow_run_name="refresh {config.store}")
def refresh(config: BuildConfig, training: TrainingConfig, ray: str | None = None) -> Summary | State[Any]:
    """Build; train if a new version came out that no person needs to look at.

    Args:
        config: the build; paths are absolute, or URLs.
        training: which stages, how and where.
        ray: as of `build-corpus` and `train-echox`.
    """
    state: State[Any] = build_corpus(config, ray, return_state=True)
    summary = summary_of(state)
    if isinstance(summary, HeldBack):
        return needs_a_look(summary)
    if summary["new"]:
        train_echox(summary["corpus"], training, ray)
    return summary
