"""`docs/kuberay.yaml` and `prefect.yaml` fit each other, the packages and the code, as delivered."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.engine.execution import ExecutionConfig, worker_count, worker_needs
from pipelines.engine.pools.growth import Room, labelled

ROOT = Path(__file__).parents[3]
TOKEN = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}
HOURS = 6000


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return next(yaml.safe_load_all((ROOT / "docs/kuberay.yaml").read_text("utf-8")))


@pytest.fixture(scope="module")
def flows() -> dict[str, Any]:
    """The pod that starts the flows."""
    _, deployment = yaml.safe_load_all((ROOT / "docs/kuberay.yaml").read_text("utf-8"))
    return deployment["spec"]["template"]["spec"]


def pods(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def node(group: dict[str, Any]) -> dict[str, float]:
    """Resources that KubeRay gives Ray for a node of a group."""
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    return {"CPU": float(limits["cpu"]), "GPU": float(limits.get("nvidia.com/gpu", 0))}


def names(variables: list[dict[str, Any]]) -> set[str]:
    return {variable["name"] for variable in variables}


def test_labels_of_the_head_say_how_far_the_groups_grow(cluster: dict[str, Any]) -> None:
    groups = cluster["spec"]["workerGroupSpecs"]
    most = {name: sum(node(group)[name] * group["maxReplicas"] for group in groups) for name in ("CPU", "GPU")}
    assert labelled([{"Alive": True, "Labels": cluster["spec"]["headGroupSpec"]["labels"]}]) == most
    assert all(group["minReplicas"] == group["replicas"] == 0 for group in groups)


@pytest.mark.parametrize("gpu", [False, True])
def test_a_worker_of_a_default_config_fits_on_a_node(gpu: bool, cluster: dict[str, Any]) -> None:
    room = Room({}, labelled([{"Alive": True, "Labels": cluster["spec"]["headGroupSpec"]["labels"]}]))
    needs = worker_needs(ExecutionConfig(), "quantize", gpu, room.reach)
    nodes = [node(group) for group in cluster["spec"]["workerGroupSpecs"]]
    assert any(all(there[name] >= amount for name, amount in needs.items()) for there in nodes)
    assert worker_count(ExecutionConfig(), 12_000, needs, room, HOURS * 3600 / 6) == (4 if gpu else 320)


def test_every_client_of_the_cluster_has_its_token(cluster: dict[str, Any], flows: dict[str, Any]) -> None:
    clients = [container for pod in (*pods(cluster), flows) for container in pod["containers"]]
    assert all(names(client["env"]) >= TOKEN for client in (*clients, cluster["spec"]["autoscalerOptions"]))


def test_packages_and_image_are_the_same_everywhere(cluster: dict[str, Any], flows: dict[str, Any]) -> None:
    assert cluster["spec"]["rayVersion"] == version("ray")
    images = {container["image"] for pod in (*pods(cluster), flows) for container in pod["containers"]}
    assert len(images) == 1


def test_flows_find_the_cluster_and_the_folders_of_its_nodes(cluster: dict[str, Any], flows: dict[str, Any]) -> None:
    """The variables of `prefect.yaml` have values that lead to the cluster and into folders that all pods share."""
    (container,) = flows["containers"]
    values = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    wanted = set(re.findall(r"\$(ECHOX_\w+)", (ROOT / "prefect.yaml").read_text("utf-8")))
    assert wanted <= values.keys()
    assert values["ECHOX_RAY"] == f"http://{cluster['metadata']['name']}-head-svc:8265"
    (pool,) = {deployment["work_pool"]["name"] for deployment in deployments()}
    assert f"--pool {pool} " in container["command"][-1]
    for pod in (*pods(cluster), flows):
        mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
        assert {volume["name"] for volume in pod["volumes"]} == names(list(mounts.values()))
        assert values["ECHOX_SPEECH"].startswith("/data/")
        assert "/data" in mounts
        assert not mounts[values["ECHOX_RUNS"]].get("readOnly")


def deployments() -> list[dict[str, Any]]:
    return yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]
