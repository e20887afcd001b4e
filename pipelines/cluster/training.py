"""Training stages on Ray: as many workers as asked for, started again from their last checkpoint when one dies.

Ray Train only starts and watches the workers; each of them runs `echox.training.train`, which makes the process group
and keeps the checkpoints itself.
"""

import json
import logging
import os
import socket
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from echox.recipes.history import read_metrics
from echox.training import REQUIRED, Stage, TrainingRequest, TrainingResult, check
from pipelines.cluster.environment import code_revision
from pipelines.cluster.jobs import Job, Jobs, is_job_server
from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.ray import connected
from storage.approvals import check_trainable
from storage.manifests import resolve
from storage.runs import RunCard, find_run, register
from storage.store import Store

log = logging.getLogger(__name__)

WATCH_SECONDS = 2.0
RESULT = "result.json"
"""In a run's folder: what its workers ended with."""


class TrainingConfig(BaseModel):
    """Which stages are trained, how, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stages: tuple[Stage, ...] = ("s2t", "t2c", "echo")
    """In their order; echo stands on runs of both others on the same corpus version."""
    preset: str = Field(min_length=1)
    """tiny, echox-3b, echox-8b, or a YAML file of an architecture."""
    runs: str = Field(min_length=1)
    """Folder of the runs, on a disk that all workers see."""
    settings: dict[Stage, tuple[str, ...]] = {}
    """FIELD=VALUE of each stage's configuration."""
    workers: int = Field(default=1, ge=1)
    """Processes that train together."""
    gpus_per_worker: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """1 on GPUs (NCCL), 0 on CPUs (gloo)."""
    cpus_per_worker: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    """Cores of a worker."""
    max_failures: int = Field(default=3, ge=0)
    """How often dead workers are started again."""


def plan(config: TrainingConfig, stage: Stage, corpus: str) -> TrainingRequest:
    """What a stage's workers are asked for; a stage that was trained before finds its folder again.

    Raises:
        StorageError: the corpus is not there, or is a candidate.
    """
    store, manifest = resolve(corpus)
    check_trainable(store, manifest)
    base = Path(config.runs).absolute()
    names = {part: run_name(config, part, manifest.uri) for part in (*REQUIRED[stage], stage)}
    return TrainingRequest(
        stage=stage,
        corpus=manifest.uri,
        preset=config.preset,
        out=str(base / names[stage]),
        parts={part: find_run(store, names[part]).folder for part in REQUIRED[stage]},
        settings=config.settings.get(stage, ()),
    )


def run_name(config: TrainingConfig, stage: Stage, corpus: str) -> str:
    """For instance `tiny-v3-s2t-1a2b3c4d`; of all that decides what is trained."""
    settings = {part: config.settings.get(part, ()) for part in (*REQUIRED[stage], stage)}
    version = corpus.rpartition("@")[2]
    return f"{PurePath(config.preset).stem}-v{version}-{stage}-{fingerprint(corpus, config.preset, settings)[:8]}"


def train_stage(
    config: TrainingConfig,
    stage: Stage,
    corpus: str,
    ray_address: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> RunCard:
    """Train a stage and register its run in the corpus' store.

    Args:
        config: how and where.
        stage: which.
        corpus: STORE@VERSION.
        ray_address: `http://HOST:PORT` of a job server, `HOST:PORT` of a cluster, or None for a Ray of this machine.
        metadata: kept by the cluster beside the job.

    Raises:
        EchoxError: preset, settings or earlier runs do not fit the corpus.
        StorageError: the corpus is not there, or is a candidate.
    """
    request = plan(config, stage, corpus)
    check(request)
    if is_job_server(ray_address):
        result = _as_job(config, request, Jobs(ray_address), metadata or {})
    else:
        result = train_on_ray(config, request, ray_address)
    card = _card(request, result)
    register(Store.open(corpus.rpartition("@")[0]), card)
    return card


def train_on_ray(config: TrainingConfig, request: TrainingRequest, ray_address: str | None) -> TrainingResult:
    """Train a stage with this process as the driver; the metrics are logged as they come."""
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    with connected(ray_address, None), metrics_logged(Path(request.out)):
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

        resources = {"CPU": config.cpus_per_worker, "GPU": config.gpus_per_worker}
        trainer = DataParallelTrainer(
            worker,
            train_loop_config=asdict(request),
            scaling_config=ScalingConfig(
                num_workers=config.workers,
                use_gpu=config.gpus_per_worker > 0,
                resources_per_worker={name: amount for name, amount in resources.items() if amount},
            ),
            run_config=RunConfig(
                name="ray",
                storage_path=request.out,
                failure_config=FailureConfig(max_failures=config.max_failures),
            ),
        )
        trainer.fit()
    return TrainingResult(**json.loads(Path(request.out, RESULT).read_text()))


def worker(values: Mapping[str, Any]) -> None:
    """What each worker runs: the process group's environment, then the stage."""
    import ray.train
    from ray.train.collective import broadcast_from_rank_zero

    from echox.training import train

    context = ray.train.get_context()
    with socket.socket() as probe:
        probe.bind(("", 0))
        meeting = broadcast_from_rank_zero((ray.util.get_node_ip_address(), probe.getsockname()[1]))
    os.environ |= {
        "MASTER_ADDR": meeting[0],
        "MASTER_PORT": str(meeting[1]),
        "RANK": str(context.get_world_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
    }
    result = train(TrainingRequest(**values), lambda _: None)
    if context.get_world_rank() == 0:  # Ray would keep it only beside a checkpoint of its own
        Path(values["out"], RESULT).write_text(json.dumps(asdict(result)))


@contextmanager
def metrics_logged(folder: Path) -> Generator[None]:
    """Log the metrics that a run's first worker leaves in its folder, while the run goes on."""
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(folder, stop), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _watch(folder: Path, stop: threading.Event) -> None:
    told = len(read_metrics(folder))
    last = False
    while not last:
        last = stop.wait(WATCH_SECONDS)
        lines = read_metrics(folder)
        for metrics in lines[told:]:
            log.info("%s", _readable(metrics))
        told = len(lines)  # fewer than before where a resumed run has taken back what came after its checkpoint


def _readable(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.5g}" for name, value in metrics.items())


def _as_job(
    config: TrainingConfig, request: TrainingRequest, jobs: Jobs, metadata: Mapping[str, str]
) -> TrainingResult:
    arguments = {"config": config.model_dump(mode="json"), "request": asdict(request)}
    job = jobs.start(Job("train", arguments, f"train-{request.stage}", arguments, metadata=metadata))
    try:
        return TrainingResult(**next(iter(job)))
    except BaseException:  # also Ctrl-C and SIGTERM: nobody would wait for the job any more
        job.stop()
        raise


def _card(request: TrainingRequest, result: TrainingResult) -> RunCard:
    return RunCard(
        name=Path(request.out).name,
        stage=request.stage,
        preset=request.preset,
        corpus=request.corpus,
        settings=request.settings,
        parts={stage: Path(folder).name for stage, folder in request.parts.items()},
        code=code_revision(),
        folder=request.out,
        checkpoint=result.checkpoint,
        steps=result.steps,
        metrics=result.metrics,
    )
