"""The deployments of `prefect.yaml` on a real server, as delivered but for the cluster: `tests/cluster` adds that."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, StateType

from storage.store import Store
from storage.versions import resolve
from tests.cluster.builds import CLI
from tests.cluster.servers import PrefectServer, kill, wait_for
from tests.speech import write_speech

ROOT = Path(__file__).parents[2]
PREFECT = (sys.executable, "-m", "prefect")
RUN_SECONDS = 500.0
FINAL = {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speech(tmp_path_factory.mktemp("deployed") / "speech", 8)


@pytest.fixture(scope="module")
def client(speech: Path) -> Iterator[SyncPrefectClient]:
    """A server with the deployments and a worker."""
    home = speech.parent
    server = PrefectServer(home / "prefect", home / "server.log")
    environment = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": server.api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "DO_NOT_TRACK": "1",
        "ECHOX_STORE": str(home / "corpus"),
        "ECHOX_SPEECH": str(speech),
        "ECHOX_RUNS": str(home / "runs"),
        "ECHOX_RAY": "http://127.0.0.1:1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        server.start()
        wait_for("the Prefect server", lambda: _ready(server), RUN_SECONDS)
        subprocess.run([*PREFECT, "work-pool", "create", "echox", "--type", "process"], check=True)
        subprocess.run([*PREFECT, "--no-prompt", "deploy", "--all"], cwd=ROOT, check=True)
        log = (home / "worker.log").open("ab")
        worker = psutil.Popen([*PREFECT, "worker", "start", "--pool", "echox"], stdout=log, stderr=subprocess.STDOUT)
        with SyncPrefectClient(server.api) as found:
            yield found
        kill(worker)
        server.kill()


def _ready(server: PrefectServer) -> bool:
    try:
        server.ready()
    except AssertionError:
        return False
    return True


def run(client: SyncPrefectClient, name: str, **changed: Any) -> FlowRun:
    """A deployment's run that has ended; of its parameters only these differ, those of mappings field by field."""
    deployment = client.read_deployment_by_name(name)
    parameters = deployment.parameters
    for field, value in changed.items():
        parameters[field] = {**parameters[field], **value} if isinstance(value, dict) else value
    started = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    return wait_for("the end of the run", lambda: ended(client, started), RUN_SECONDS)


def ended(client: SyncPrefectClient, started: FlowRun) -> FlowRun | None:
    found = client.read_flow_run(started.id)
    return found if found.state is not None and found.state.type in FINAL else None


def state(found: FlowRun) -> tuple[str | None, StateType, str]:
    assert found.state is not None
    return found.state.name, found.state.type, str(found.state.message)


def told(client: SyncPrefectClient, found: FlowRun) -> dict[str, str]:
    """Changes that a run reports."""
    data = {artifact.key: artifact.data for artifact in client.read_artifacts() if artifact.flow_run_id == found.id}
    assert {"changes", "compression", "corpus", "report"} <= data.keys()
    assert str(data["report"]).startswith("[report of version") or "file://" in str(data["report"])
    return {row["what"]: row["value"] for row in json.loads(str(data["changes"]))}


def lines(client: SyncPrefectClient, found: FlowRun) -> list[str]:
    return [line.message for line in client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[found.id])))]


def test_nights_say_what_changed_and_a_version_that_is_held_back_has_a_colour_of_its_own(
    client: SyncPrefectClient, speech: Path
) -> None:
    first = run(client, "build-corpus/nightly", ray=None)
    assert state(first)[:2] == ("Completed", StateType.COMPLETED), state(first)
    counts = {"new": "8", "changed": "0", "mended": "0", "healed": "0", "removed": "0", "kept": "0", "rejected": "0"}
    assert counts.items() <= told(client, first).items()
    (speech / "clip003.txt").write_text("mended")
    second = run(client, "build-corpus/nightly", ray=None)
    assert {"version": "1 -> 2", "mended": "1", "kept": "7"}.items() <= told(client, second).items()
    said = "version: 1 -> 2; new: 0; changed: 0; mended: 1; "
    wait_for("the log, which follows the run", lambda: any(said in line for line in lines(client, second)))
    for clip in range(4):
        (speech / f"clip{clip:03d}.wav").unlink()
    third = run(client, "build-corpus/nightly", ray=None)
    name, kind, message = state(third)
    assert (name, kind) == ("NeedsALook", StateType.CANCELLED), "the colour of a state is that of its type"
    assert "speech: 50.0% of its utterances are not listed any more since version 2 (gate 10.0%)" in message
    assert {"gone from the sources but kept": "4", "kept": "4"}.items() <= told(client, third).items()
    config = speech.parent / "build.yaml"
    config.write_text(json.dumps(client.read_deployment_by_name("build-corpus/nightly").parameters["config"]))
    by_hand = subprocess.run([*CLI, "build", str(config)], capture_output=True, text=True, check=False)
    assert by_hand.returncode == 3, by_hand.stderr
    assert "needs a look: speech: 50.0% of its utterances" in by_hand.stderr
    assert "Traceback" not in by_hand.stderr
    refresh = run(client, "refresh/refresh", ray=None)
    assert state(refresh)[:2] == ("NeedsALook", StateType.CANCELLED), "and nothing is trained"
    assert not (speech.parent / "runs").exists()


def test_a_training_is_refused_before_it_begins_and_too_many_rejects_fail_ingest(
    client: SyncPrefectClient, speech: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "corpus")
    made = run(client, "build-corpus/nightly", ray=None, config={"store": store})
    assert state(made)[1] == StateType.COMPLETED, state(made)
    assert resolve(store)[1].number == 1
    stages = {"stages": ["s2t", "t2c"], "runs": str(tmp_path / "runs")}
    refused = run(client, "train-echox/train", ray=None, corpus=store, training=stages)
    assert state(refused)[1] == StateType.FAILED
    assert "table 't2c' has 0 examples" in state(refused)[2]
    assert "`task: tts` of a source" in state(refused)[2]
    assert not (tmp_path / "runs").exists()
    for number in range(5):
        (speech / f"bad{number}.wav").write_bytes(b"no audio")
    failed = run(client, "build-corpus/nightly", ray=None, config={"store": store})
    assert state(failed)[1] == StateType.FAILED
    assert "max_reject_ratio: after step ingest, 5 of " in state(failed)[2]
    tasks = {task.name.rpartition("-")[0]: task.state_name for task in client.read_task_runs() if of(task, failed)}
    assert tasks == {"ingest": "Failed"}, "the step that rejects fails, and no other runs"
    pages = [str(a.data) for a in client.read_artifacts() if (a.key, a.flow_run_id) == ("failure", failed.id)]
    assert len(pages) == 1
    assert pages[0].startswith("Step `ingest` stopped the build:\n\n```\nmax_reject_ratio: after step ingest, 5 of ")
    assert resolve(store)[1].number == 1
    assert Store.open(store).exists("reports/00000001.html")


def of(task: Any, flow_run: FlowRun) -> bool:
    return task.flow_run_id == flow_run.id
