"""A step's work units as one Ray Data job."""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from pipelines.engine.execution import FIELDS
from pipelines.engine.pools.apart import Assigner, Decoder
from pipelines.engine.pools.pools import Pool, Pools
from pipelines.engine.worker import Worker

if TYPE_CHECKING:
    from ray.data import Dataset


def answers_on_ray(rows: Sequence[dict[str, Any]], pools: Pools) -> Generator[dict[str, Any]]:
    """Yield the answers of workers to work units, in any order.

    Args:
        rows: packed work units; workers begin with the first ones.
        pools: the workers.
    """
    import ray.data

    units = ray.data.from_items(list(rows), override_num_blocks=len(rows))
    if pools.decoding is None:
        outputs = _mapped(units, Worker, pools.computing, "numpy", waiting=1)
    else:
        decoded = _mapped(units, Decoder, pools.decoding, "pyarrow")
        outputs = _mapped(decoded, Assigner, pools.computing, "pyarrow")
    made = cast(Generator[dict[str, Any]], iter(outputs.iter_rows()))
    with closing(made):  # otherwise Ray Data may still run when Ray is shut down
        yield from made


def _mapped(units: "Dataset", actor: type[Any], pool: Pool, batch_format: str, waiting: int | None = None) -> "Dataset":
    """Let a pool work on each row. All workers are created at once: for those that do not fit yet, a cluster grows.

    Args:
        units: work units, the longest first.
        actor: class of the workers.
        pool: their number and needs.
        batch_format: of their input.
        waiting: most work units that a worker has, with the one that it computes; what waits behind a long one would
            begin earlier elsewhere. Default: Ray's, by which audio arrives while a worker computes.
    """
    import ray.data

    return units.map_batches(
        actor,
        batch_size=1,
        batch_format=batch_format,
        compute=ray.data.ActorPoolStrategy(
            min_size=1, max_size=pool.workers, initial_size=pool.workers, max_tasks_in_flight_per_actor=waiting
        ),
        num_cpus=pool.needs["CPU"],
        num_gpus=pool.needs.get("GPU", 0),
        memory=pool.needs.get("memory"),
        resources={name: amount for name, amount in pool.needs.items() if name not in FIELDS},
    )
