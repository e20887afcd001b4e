"""Training stages on Ray: workers that are restarted from their last checkpoint when one dies.

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
from typing import Annotated, Any, TypedDict

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from echox.errors import EchoxError
from echox.recipes.history import read_metrics
from echox.renamed import rename_fields
from echox.stages import check_stage, stage_class, stage_names
from echox.training import TrainingRequest, TrainingResult, check, check_without_sources
from pipelines.cluster.environment import code_revision
from pipelines.cluster.jobs import Job, Jobs, is_job_server
from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.ray import connected
from storage.approvals import check_trainable
from storage.models import ModelCard, find_model, model_names, register
from storage.store import Store
from storage.versions import resolve
from unitlang.config import FrozenConfig

log = logging.getLogger(__name__)

WATCH_SECONDS = 2.0
RESULT = "result.json"
"""File in a run's folder with the result of its workers."""
StageName = Annotated[str, AfterValidator(check_stage), WithJsonSchema({"type": "string", "enum": list(stage_names())})]


class TrainingJob(TypedDict):
    """Arguments of a Ray job that trains a stage, as JSON values."""

    config: dict[str, Any]
    request: dict[str, Any]


def _with_old_names(schema: dict[str, Any]) -> None:
    """Let the schema of deployments accept `preset`, the old name of `architecture`, for one more release."""
    old = {"type": "string", "title": "Preset", "deprecated": True, "description": "Old name of `architecture`."}
    schema["properties"]["preset"] = old
    schema["required"].remove("architecture")


class TrainingConfig(FrozenConfig):
    """Which stages are trained, how, and where."""

    model_config = ConfigDict(json_schema_extra=_with_old_names)

    stages: tuple[StageName, ...] = ("s2t", "t2c", "echo")
    """Stages in the order of training; echo needs models of both others on the same corpus version."""
    architecture: str = Field(min_length=1)
    """tiny, echox-3b, echox-8b, or a YAML file of an architecture."""
    runs: str = Field(min_length=1)
    """Folder of the runs, on a disk that all workers share."""
    settings: dict[StageName, tuple[str, ...]] = Field(default={})
    """FIELD=VALUE of each stage's configuration."""
    workers: int = Field(default=1, ge=1)
    """Processes that train together."""
    gpus_per_worker: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """1 on GPUs (NCCL), 0 on CPUs (gloo)."""
    cpus_per_worker: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    """Cores of a worker."""
    max_failures: int = Field(default=3, ge=0)
    """Most restarts of dead workers."""

    @model_validator(mode="before")
    @classmethod
    def _new_names(cls, values: Any) -> Any:
        return rename_fields(values, "training")


def check_training(config: TrainingConfig, corpus: str) -> None:
    """Check all stages of a config before the first one is trained.

    Args:
        config: how and where to train.
        corpus: STORE@VERSION, or STORE.

    Raises:
        EchoxError: a stage has no examples in the corpus, needs one that is neither trained before it nor in the store,
            or its settings or architecture do not fit.
        StorageError: there is no such corpus, or it is a candidate.
    """
    store, version = resolve(corpus)
    for position, stage in enumerate(config.stages):
        out = str(Path(config.runs).absolute() / run_name(config, stage, version.uri))
        settings = config.settings.get(stage, ())
        check_without_sources(
            TrainingRequest(
                stage=stage, corpus=version.uri, architecture=config.architecture, out=out, settings=settings
            )
        )
        for source in stage_class(stage).stands_on:
            if source not in config.stages[:position]:
                _check_trained(store, run_name(config, source, version.uri), stage, source)


def _check_trained(store: Store, name: str, stage: str, source: str) -> None:
    if name not in model_names(store):
        raise EchoxError(
            f"training.stages: {stage} starts from a model of {source}, which is not in {store.uri} for this version, "
            f"architecture and these settings; put {source} before {stage}"
        )


def plan(config: TrainingConfig, stage: str, corpus: str) -> TrainingRequest:
    """Return the request of a stage's workers; a stage that was trained before gets the same folder.

    Raises:
        EchoxError: there is no such stage.
        StorageError: there is no such corpus, it is a candidate, or a source model is missing.
    """
    store, version = resolve(corpus)
    check_trainable(store, version)
    sources = {source: run_name(config, source, version.uri) for source in stage_class(stage).stands_on}
    return TrainingRequest(
        stage=stage,
        corpus=version.uri,
        architecture=config.architecture,
        out=str(Path(config.runs).absolute() / run_name(config, stage, version.uri)),
        source_models={source: find_model(store, name).folder for source, name in sources.items()},
        settings=config.settings.get(stage, ()),
    )


def run_name(config: TrainingConfig, stage: str, corpus: str) -> str:
    """Return a name, for instance `tiny-v3-s2t-1a2b3c4d`, that depends on everything that decides what is trained.

    Raises:
        EchoxError: there is no such stage.
    """
    settings = {part: config.settings.get(part, ()) for part in (*stage_class(stage).stands_on, stage)}
    version = corpus.rpartition("@")[2]
    inputs = fingerprint(corpus, config.architecture, settings)
    return f"{PurePath(config.architecture).stem}-v{version}-{stage}-{inputs[:8]}"


def train_stage(
    config: TrainingConfig,
    stage: str,
    corpus: str,
    ray_address: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> ModelCard:
    """Train a stage and register the model in the corpus' store.

    Args:
        config: how and where to train.
        stage: name of the stage.
        corpus: STORE@VERSION.
        ray_address: `http://HOST:PORT` of a job server, `HOST:PORT` of a cluster, or None for a Ray of this machine.
        metadata: labels of the Ray job.

    Raises:
        EchoxError: stage, architecture, settings or source models do not fit the corpus.
        StorageError: there is no such corpus, it is a candidate, or a source model is missing.
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
    """Train a stage with this process as the driver, and log the metrics as they come.

    Args:
        config: how and where to train.
        request: what to train.
        ray_address: `HOST:PORT` of a cluster, or None for a Ray of this machine.
    """
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
    """Set the process group's environment, and train the stage in it; every worker runs this."""
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
    if context.get_world_rank() == 0:  # Ray keeps results only with checkpoints of its own
        Path(values["out"], RESULT).write_text(json.dumps(asdict(result)))


@contextmanager
def metrics_logged(folder: Path) -> Generator[None]:
    """Log the metrics that a run's first worker writes to its folder, while the run is trained."""
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(folder, stop), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _watch(folder: Path, stop: threading.Event) -> None:
    logged = len(read_metrics(folder))
    last = False
    while not last:
        last = stop.wait(WATCH_SECONDS)
        lines = read_metrics(folder)
        for metrics in lines[logged:]:
            log.info("%s", _readable(metrics))
        logged = len(lines)  # a resumed run drops the lines after its checkpoint


def _readable(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.5g}" for name, value in metrics.items())


def _as_job(
    config: TrainingConfig, request: TrainingRequest, jobs: Jobs, metadata: Mapping[str, str]
) -> TrainingResult:
    arguments = TrainingJob(config=config.model_dump(mode="json"), request=asdict(request))
    job = jobs.start(Job("train", {**arguments}, f"train-{request.stage}", {**arguments}, metadata=metadata))
    try:
        return TrainingResult(**next(iter(job)))
    except BaseException:  # also on Ctrl-C and SIGTERM, when nobody waits for the job any more
        job.stop()
        raise


def _card(request: TrainingRequest, result: TrainingResult) -> ModelCard:
    return ModelCard(
        name=Path(request.out).name,
        stage=request.stage,
        architecture=request.architecture,
        corpus=request.corpus,
        settings=request.settings,
        source_models={stage: Path(folder).name for stage, folder in request.source_models.items()},
        code=code_revision(),
        folder=request.out,
        checkpoint=result.checkpoint,
        steps=result.steps,
        metrics=result.metrics,
    )
