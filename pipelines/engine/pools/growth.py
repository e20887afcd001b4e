"""Resources that a cluster has, and those that its autoscaler may grow it to.

Ray does not tell a program what its autoscaler may add. So whoever sets up the cluster says it by labels of the head,
for instance `echox/most-CPU=256`: the CPUs of all groups of workers at their largest.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import UserError

LABEL = "echox/most-"
"""Beginning of the labels; the name of the resource follows."""


@dataclass(frozen=True)
class Room:
    """Room of a cluster for workers.

    Attributes:
        now: resources that it has, by name.
        most: resources that it may grow to, by name, without those that have no limit; empty if it does not grow.
    """

    now: Mapping[str, float]
    most: Mapping[str, float]

    @property
    def grows(self) -> bool:
        """Whether the cluster may get more machines."""
        return bool(self.most)

    @property
    def reach(self) -> dict[str, float]:
        """Largest known amount of each resource."""
        return {name: max(self.now.get(name, 0), self.most.get(name, 0)) for name in {*self.now, *self.most}}

    def fits_now(self, needs: Mapping[str, float]) -> int:
        """Number of workers with these needs that fit on the present machines."""
        return _fitting(needs, self.now, 0.0)

    def fits(self, needs: Mapping[str, float]) -> int:
        """Number of workers with these needs that fit on the grown cluster."""
        return max(self.fits_now(needs), _fitting(needs, self.most, math.inf)) if self.grows else self.fits_now(needs)


def cluster_room() -> Room:
    """Room of the cluster that this process is connected to.

    Raises:
        UserError: a label is no number.
    """
    import ray

    return Room(ray.cluster_resources(), labelled(ray.nodes()))


def labelled(nodes: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The resources that the labels of living nodes name, as `ray.nodes` lists the nodes.

    Raises:
        UserError: a label is no number.
    """
    labels = [label for node in nodes if node["Alive"] for label in (node.get("Labels") or {}).items()]
    return {name.removeprefix(LABEL): _amount(name, value) for name, value in labels if name.startswith(LABEL)}


def _amount(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise UserError(f"Ray cluster: label {name}={value} of a node must be a number") from error


def _fitting(needs: Mapping[str, float], there: Mapping[str, float], absent: float) -> int:
    ratios = [there.get(name, absent) / amount for name, amount in needs.items() if amount]
    least = min(ratios)
    return int(least) if math.isfinite(least) else 0
