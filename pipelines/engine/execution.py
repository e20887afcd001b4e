"""Settings of how a build is executed, and what they mean for the workers on Ray."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from pipelines.errors import UserError
from unitlang.config import FrozenConfig


class ExecutionConfig(FrozenConfig):
    """How a build is executed; changes nothing in the corpus."""

    workers: int | None = Field(default=None, ge=1)
    """Worker processes at most; default: as many as the Ray cluster has CPUs or, for features, GPUs for when a step
    begins. A number larger than that makes an autoscaler bring nodes."""
    gpus_per_worker: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """GPUs of a worker that computes features; shares are fine, 0 = compute on CPUs. Default: one where the cluster has
    any. A number asks for them also where an autoscaler must bring them first."""
    cpus_per_gpu_worker: int = Field(default=4, ge=1)
    """CPUs that Ray reserves for such a worker: they decode for the GPU."""
    resources: dict[str, dict[str, Annotated[float, Field(gt=0.0, allow_inf_nan=False)]]] = Field(default={})
    """Further custom resources of Ray that a worker of a step asks for, to choose nodes: `quantize: {a100: 0.01}`."""
    ray_above_seconds: float = Field(default=60.0, ge=0.0)
    """A step below so many CPU seconds (estimated) runs in process: a Ray job takes 15 s to start; 0 = always Ray."""


def worker_needs(config: ExecutionConfig, step: str, gpu: bool, there: Mapping[str, float]) -> dict[str, float]:
    """Resources that a worker asks of Ray: a core, or a GPU and the cores that decode for it; and custom ones.

    Args:
        config: how to run.
        step: name of the step.
        gpu: whether the worker gains by a GPU.
        there: resources of the cluster by name.
    """
    custom = config.resources.get(step, {})
    share = (1.0 if there.get("GPU", 0) >= 1 else 0.0) if config.gpus_per_worker is None else config.gpus_per_worker
    if gpu and share:
        return {"CPU": config.cpus_per_gpu_worker, "GPU": share, **custom}
    return {"CPU": 1, "GPU": 0, **custom}


def check_needs(needs: Mapping[str, float], there: Mapping[str, float], address: str | None) -> None:
    """Refuse resources that this machine lacks, which Ray would wait for; a cluster (`address`) may grow.

    Raises:
        UserError: naming the field.
    """
    for name, amount in needs.items():
        if address is None and there.get(name, 0) < amount:
            field = {"CPU": "run.cpus_per_gpu_worker", "GPU": "run.gpus_per_worker"}.get(name, "run.resources")
            raise UserError(f"{field}: a worker would need {amount:g} {name}, this machine has {there.get(name, 0):g}")


def worker_count(
    config: ExecutionConfig, work_units: int, needs: Mapping[str, float], there: Mapping[str, float]
) -> int:
    """Number of workers: as many as are allowed, or as the cluster holds now, but no more than there are work units.

    Args:
        config: how to run.
        work_units: how much there is to do.
        needs: resources of a worker by name.
        there: resources of the cluster by name.
    """
    fitting = min(int(there.get(name, 0) / amount) for name, amount in needs.items() if amount)
    return max(1, min(work_units, config.workers or fitting))
