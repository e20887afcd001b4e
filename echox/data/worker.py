"""The workers that share the batches of a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Worker:
    """One of the workers that share the batches.

    Attributes:
        rank: number of the worker, from 0.
        workers: number of workers.
    """

    rank: int = 0
    workers: int = 1


ALONE = Worker()
"""The only worker."""
