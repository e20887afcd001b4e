"""Settings of the execution of a build, and the resources and number of its workers on Ray."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from pipelines.engine.pools.growth import Room
from pipelines.errors import UserError
from unitlang.config import FrozenConfig

OnCrash = Literal["stop", "reject"]
Decode = Literal["auto", "fused", "apart"]
FIELDS = {"CPU": "run.cpus_per_gpu_worker", "GPU": "run.gpus_per_worker", "memory": "run.memory_per_worker"}
"""Fields of the config that ask for a resource of Ray."""
GIB = 2**30
CORES_OF_A_GPU = 100
"""Cores that compute features as fast as one GPU; rough, to tell how many GPUs the work is worth (docs/scale.md)."""


class ExecutionConfig(FrozenConfig):
    """Settings of the execution of a build; they change nothing in the corpus."""

    workers: int | None = Field(default=None, ge=1)
    """Largest number of worker processes. Default: as many as fit on the cluster, also after it has grown as far as its
    head node's labels say. Workers that do not fit yet make an autoscaler add nodes."""
    minutes_per_worker: float = Field(default=20.0, gt=0.0, allow_inf_nan=False)
    """Estimated work of a step, in minutes, that makes its pool ask for one more worker than fits on the cluster."""
    gpus_per_worker: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """GPUs of a worker that computes features; fractions are allowed, 0 = compute on CPUs. Default: one if the cluster
    has any or may grow to it. An explicit number is requested even if an autoscaler must add the GPUs first."""
    cpus_per_gpu_worker: int = Field(default=4, ge=1)
    """CPUs that Ray reserves for such a worker, which decodes on as many threads; none where others decode."""
    decode: Decode = "auto"
    """Who decodes for features: the workers that compute them (`fused`), or others on any CPU of the cluster (`apart`).
    `auto`: apart if the workers use GPUs and a cluster has more CPUs than these workers would reserve to decode."""
    memory_per_worker: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """GiB of memory that Ray reserves for a worker, so that no more workers share a machine than fit into its memory.
    Default: only cores and GPUs limit them."""
    on_crash: OnCrash = "stop"
    """Treatment of an utterance that kills the process that computes it: `stop` without a commit after all other
    work units of the step, or `reject` it. Too little memory kills too, and is no fault of an utterance."""
    rehash: bool = False
    """Read the audio of all known entries again, to find files that were replaced without a change of size or time."""
    retry_rejects: bool = False
    """Try all rejected entries again, although neither their files nor what is said about them have changed."""
    resources: dict[str, dict[str, Annotated[float, Field(gt=0.0, allow_inf_nan=False)]]] = Field(default={})
    """Custom Ray resources that each worker of a step requests, to select nodes: `quantize: {a100: 0.01}`."""
    ray_above_seconds: float = Field(default=60.0, ge=0.0)
    """Steps below this estimate of CPU seconds run in this process, because a Ray job takes 15 s to start; 0 = always
    use Ray."""


def worker_needs(config: ExecutionConfig, step: str, gpu: bool, there: Mapping[str, float]) -> dict[str, float]:
    """Resources that a worker requests from Ray: a core, or a GPU and the cores that decode for it; and custom ones.

    Args:
        config: settings of the execution.
        step: name of the step.
        gpu: whether the worker benefits from a GPU.
        there: resources of the cluster by name.
    """
    custom = dict(config.resources.get(step, {}))
    if config.memory_per_worker is not None:
        custom["memory"] = config.memory_per_worker * GIB
    share = (1.0 if there.get("GPU", 0) >= 1 else 0.0) if config.gpus_per_worker is None else config.gpus_per_worker
    if gpu and share:
        return {"CPU": config.cpus_per_gpu_worker, "GPU": share, **custom}
    return {"CPU": 1, "GPU": 0, **custom}


def check_needs(needs: Mapping[str, float], there: Mapping[str, float], address: str | None) -> None:
    """Refuse resources that this machine lacks, because Ray would wait for them for ever.

    Args:
        needs: resources of a worker by name.
        there: resources of this machine or cluster by name.
        address: address of a cluster, which may grow and is not checked; None for this machine.

    Raises:
        UserError: this machine lacks a resource; the message names the field of the config.
    """
    for name, amount in needs.items():
        if address is None and there.get(name, 0) < amount:
            unit, label = (GIB, "GiB of memory") if name == "memory" else (1, name)
            raise UserError(
                f"{FIELDS.get(name, 'run.resources')}: a worker would need {amount / unit:g} {label}, "
                f"this machine has {there.get(name, 0) / unit:.4g}"
            )


def worker_count(
    config: ExecutionConfig, work_units: int, needs: Mapping[str, float], room: Room, core_seconds: float = 0.0
) -> int:
    """Number of workers: as many as fit now, or more if the work is worth them, within work units, config and cluster.

    Args:
        config: settings of the execution.
        work_units: number of work units to compute.
        needs: resources of a worker by name.
        room: the cluster.
        core_seconds: estimated seconds of the work on one core.
    """
    cores = CORES_OF_A_GPU * needs["GPU"] if needs.get("GPU") else 1
    worth = math.ceil(core_seconds / cores / (60 * config.minutes_per_worker))
    most = config.workers or room.fits(needs)
    return max(1, min(work_units, most, max(room.fits_now(needs), worth)))
