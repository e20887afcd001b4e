"""Real Ray: the bytes do not depend on where or by how many the work was done."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.build.commit import Built
from pipelines.errors import UserError

pytestmark = pytest.mark.slow

Config = dict[str, Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a Ray cluster of a head and one more node, each with one CPU."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    yield str(nodes.address)
    nodes.shutdown()


def files(store: Path) -> dict[str, bytes]:
    """Contents of every file that the corpus consists of."""
    paths = [path for folder in ("data", "training", "artifacts") for path in (store / folder).rglob("*")]
    return {str(path.relative_to(store)): path.read_bytes() for path in paths if path.is_file()}


def test_one_worker_and_two_on_two_nodes_give_the_same_bytes(
    config: Config, run_build: Callable[..., Built], tmp_path: Path, cluster: str
) -> None:
    run_build({**config, "store": str(tmp_path / "one")})
    run_build({**config, "store": str(tmp_path / "two"), "run": {"workers": 2, "ray_above_seconds": 0}}, cluster)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_failure_in_a_worker_ends_the_build_with_its_cause(
    config: Config, run_build: Callable[..., Built], cluster: str
) -> None:
    run_build(config)
    store = Path(config["store"])
    for receipt in (store / "data" / "receipts" / "encode").iterdir():
        receipt.unlink()
    for path in (store / "artifacts" / "unit_language").rglob("unit_language.model"):
        path.write_bytes(b"damaged")
    next((store / "manifests").iterdir()).unlink()
    with pytest.raises(Exception, match="is not what was written"):
        run_build({**config, "run": {"ray_above_seconds": 0}}, cluster)


def test_an_address_where_nobody_listens_is_said_at_once(config: Config, run_build: Callable[..., Built]) -> None:
    with pytest.raises(UserError, match="no Ray cluster answers there"):
        run_build({**config, "run": {"ray_above_seconds": 0}}, "127.0.0.1:1")
