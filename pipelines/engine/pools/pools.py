"""The pools of a step on Ray: workers that compute, and perhaps others that decode for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.engine.execution import ExecutionConfig, worker_count, worker_needs
from pipelines.engine.pools.growth import Room
from pipelines.engine.step import Step, WorkUnit

DECODE_SPEED = 500.0
"""Seconds of audio that one core decodes per second: FLAC at 48 kHz, see docs/scale.md."""
DECODERS_OF_A_WORKER = 16
"""Most decoders that feed a worker with a GPU."""
HALF_A_CPU = 0.5
"""CPUs of a worker without a GPU, and of its decoder: they share a core, so that neither kind waits for the other's."""


@dataclass(frozen=True)
class Pool:
    """Workers of one kind: the largest number, and the resources of each by name."""

    workers: int
    needs: Mapping[str, float]


@dataclass(frozen=True)
class Pools:
    """Pools of a step.

    Attributes:
        computing: workers that compute, and decode if nobody else does.
        decoding: workers that decode for them.
    """

    computing: Pool
    decoding: Pool | None = None


def pools_of(
    config: ExecutionConfig, step: Step[Any], todo: Sequence[WorkUnit[Any]], room: Room, speed: float, gpu: bool
) -> Pools:
    """The pools that compute work units.

    Args:
        config: settings of the execution.
        step: the step.
        todo: the work units.
        room: the cluster.
        speed: approximate seconds of audio that one core processes per second.
        gpu: whether workers benefit from a GPU.
    """
    seconds = sum(work_unit.seconds for work_unit in todo)
    needs = worker_needs(config, step.name, gpu, room.reach)
    workers = worker_count(config, len(todo), needs, room, seconds / speed)
    if not decodes_apart(config, step, Pool(workers, needs), room):
        return Pools(Pool(workers, needs))
    if not needs["GPU"]:
        return Pools(Pool(workers, {**needs, "CPU": HALF_A_CPU}), Pool(workers, {"CPU": HALF_A_CPU}))
    apart = {**needs, "CPU": 0}  # decoders on its node may take all CPUs, and it must start nevertheless
    workers = worker_count(config, len(todo), apart, room, seconds / speed)
    most = min(len(todo), DECODERS_OF_A_WORKER * workers)
    needs = {"CPU": 1.0}
    decoders = worker_count(config.model_copy(update={"workers": most}), most, needs, room, seconds / DECODE_SPEED)
    return Pools(Pool(workers, apart), Pool(decoders, needs))


def decodes_apart(config: ExecutionConfig, step: Step[Any], computing: Pool, room: Room) -> bool:
    """Whether others decode for the workers that compute a step."""
    if config.decode == "auto":
        taken = computing.workers * computing.needs["CPU"]
        return step.decodes and computing.needs["GPU"] > 0 and room.reach.get("CPU", 0) > taken
    return step.decodes and config.decode == "apart"
