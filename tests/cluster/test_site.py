"""Scheduled builds and trainings on a cluster, with everything dying in turn.

One file, so that one process runs it: a second site would only take its processor time from this one.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import AwaitingRetry, Cancelling, Scheduled

from storage.approvals import approve
from storage.models import find_model, model_names
from storage.store import Store
from storage.versions import resolve
from tests.cluster.builds import (
    BUILD_SECONDS,
    Config,
    Files,
    Start,
    check_same,
    receipts,
    verify,
    wait_for_unit,
    work_units,
)
from tests.cluster.conftest import ROOT, Site
from tests.cluster.servers import kill, wait_for
from tests.speech import write_speech

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600, func_only=True)]  # the servers have waits of their own

STOPPED_SECONDS = 15.0
AWAY_SECONDS = 30.0
FINAL = {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED}


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[SyncPrefectClient]:
    with SyncPrefectClient(site.prefect.api) as client:  # by name: settings of Prefect are older than the site
        yield client


@pytest.fixture(scope="module")
def nightly(site: Site, worker: psutil.Popen, client: SyncPrefectClient) -> UUID:
    """The deployment `nightly` of `prefect.yaml`, as the docs say it is made."""
    speech = write_speech(site.folder / "nightly", 8)
    environment = {
        "ECHOX_STORE": site.store("nightly"),
        "ECHOX_SPEECH": str(speech),
        "ECHOX_RAY": site.ray.jobs,
        "ECHOX_RUNS": str(site.folder / "runs"),
    }
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    deployed = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    return client.read_deployment_by_name("build-corpus/nightly").id


def run(client: SyncPrefectClient, deployment: UUID, **changed: Any) -> FlowRun:
    """A run by hand; of a parameter that is a mapping only the fields that are `changed` differ."""
    parameters = client.read_deployment(deployment).parameters
    for name, value in changed.items():
        parameters[name] = {**parameters[name], **value} if isinstance(value, dict) else value
    return client.create_flow_run_from_deployment(deployment, parameters=parameters)


def final(client: SyncPrefectClient, flow_run: UUID) -> FlowRun | None:
    """The run, if it has ended."""
    found = client.read_flow_run(flow_run)
    return found if found.state is not None and found.state.type in FINAL else None


def ended(client: SyncPrefectClient, flow_run: UUID) -> FlowRun:
    """A run that has ended."""
    return wait_for("the end of the run", lambda: final(client, flow_run), BUILD_SECONDS)


def until(client: SyncPrefectClient, flow_run: UUID, store: str, step: str) -> None:
    """Wait for the first work unit that a run does of a step."""
    wait_for_unit(store, step, lambda: final(client, flow_run))
    assert final(client, flow_run) is None


def jobs(site: Site, flow_run: UUID) -> list[str]:
    """States of the Ray jobs of a run."""
    from ray.job_submission import JobSubmissionClient  # after the site has set what Ray reads when it is imported

    listed = JobSubmissionClient(site.ray.jobs).list_jobs()
    return [str(job.status) for job in listed if (job.metadata or {}).get("prefect-flow-run") == str(flow_run)]


def test_the_schedule_builds_and_a_run_by_hand_adds_what_is_new(
    site: Site, client: SyncPrefectClient, nightly: UUID
) -> None:
    scheduled = wait_for("a scheduled run", lambda: scheduled_run(client, nightly), 90)
    client.set_flow_run_state(scheduled.id, Scheduled(scheduled_time=datetime.now(UTC)))  # the night falls now
    first = ended(client, scheduled.id)
    assert first.auto_scheduled
    assert first.state is not None
    assert first.state.is_completed(), first.state.message
    write_speech(site.folder / "nightly", 2, start=100)
    second = ended(client, run(client, nightly).id)
    assert second.state is not None
    assert second.state.is_completed(), second.state.message
    version = resolve(site.store("nightly"))[1]
    assert version.number == 2
    assert version.statistics["entries"] == 10
    verify(site.store("nightly"))
    artifacts = {artifact.key for artifact in client.read_artifacts() if artifact.flow_run_id == first.id}
    assert {"changes", "compression", "corpus", "report", "quantize"} <= artifacts
    told = {
        artifact.key: str(artifact.data) for artifact in client.read_artifacts() if artifact.flow_run_id == second.id
    }
    changes = {row["what"]: row["value"] for row in json.loads(told["changes"])}
    assert {"version": "1 -> 2", "new": "2", "kept": "8", "mended": "0", "rejected": "0"}.items() <= changes.items()
    assert "| clips |" in told["report"] or "| speech |" in told["report"], "no browser opens a link to a bucket"
    log = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[second.id]))
    said = "version: 1 -> 2; new: 2; changed: 0; "
    wait_for("the log, which follows the run", lambda: any(said in line.message for line in client.read_logs(log)))


def scheduled_run(client: SyncPrefectClient, deployment: UUID) -> FlowRun | None:
    """The next run of a deployment's schedule."""
    runs = client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])))
    return next((found for found in runs if found.auto_scheduled), None)


def test_a_wrong_config_never_starts(client: SyncPrefectClient, nightly: UUID) -> None:
    with pytest.raises(Exception, match=r"(?s)k.*less than the minimum|409|422"):
        run(client, nightly, config={"quantizer": {"k": 0}})


def test_a_refresh_trains_on_what_nobody_needs_to_look_at(
    site: Site, client: SyncPrefectClient, nightly: UUID, values: Config
) -> None:
    """With the stages and the kind of source that `prefect.yaml` is delivered with."""
    refresh = client.read_deployment_by_name("refresh/refresh").id
    speech = write_speech(site.folder / "refresh", 8)
    sources = [{"kind": "folder", "path": str(speech), "dataset": "speech"}]
    config = {"sources": sources, "store": site.store("refresh")}
    quick = {"settings": {"s2t": ["schedule.steps=2"]}}
    trained = ended(client, run(client, refresh, training=quick, config=config).id)
    assert trained.state is not None
    assert trained.state.name == "Completed", trained.state.message
    store = Store.open(site.store("refresh"))
    (name,) = model_names(store)
    assert find_model(store, name).corpus == f"{store.uri}@1"
    assert Path(find_model(store, name).checkpoint).is_dir()
    write_speech(speech, 8, start=100)
    moved = ended(client, run(client, refresh, training=quick, config={**config, "gates": {"hours": 0.5}}).id)
    assert moved.state is not None
    assert (moved.state.name, moved.state.type) == ("NeedsALook", StateType.CANCELLED), "its colour is that of its type"
    assert "hours went from" in str(moved.state.message)
    assert model_names(store) == [name], "a candidate is not trained on"
    assert approve(*resolve(store.uri))
    train = client.read_deployment_by_name("train-echox/train").id
    refused = ended(client, run(client, train, training={"stages": ["s2t", "t2c"]}, corpus=f"{store.uri}@2").id)
    assert refused.state is not None
    assert refused.state.is_failed()
    assert "table 't2c' has 0 examples" in str(refused.state.message)
    assert "`task: tts` of a source" in str(refused.state.message)
    assert model_names(store) == [name], "nothing was trained before that"
    chosen = ended(client, run(client, train, training=quick, corpus=f"{store.uri}@2").id)
    assert chosen.state is not None
    assert chosen.state.is_completed(), chosen.state.message
    assert {find_model(store, name).corpus for name in model_names(store)} == {f"{store.uri}@1", f"{store.uri}@2"}


def test_the_process_of_a_flow_dies(
    site: Site, client: SyncPrefectClient, nightly: UUID, worker: psutil.Popen, values: Config, undisturbed: Files
) -> None:
    store = site.store("flow")
    flow_run = run(client, nightly, config={**values, "store": store})
    until(client, flow_run.id, store, "quantize")
    for process in psutil.Process(worker.pid).children():
        kill(process)
    crashed = ended(client, flow_run.id)
    assert crashed.state is not None
    assert crashed.state.is_crashed()
    wait_for("the end of its job", lambda: set(jobs(site, flow_run.id)) <= {"STOPPED", "SUCCEEDED"})
    client.set_flow_run_state(flow_run.id, AwaitingRetry(), force=True)  # the button "Retry" of the UI
    again = ended(client, flow_run.id)
    assert again.state is not None
    assert again.state.is_completed(), again.state.message
    check_same(store, undisturbed)
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
    states = {(task.name.rpartition("-")[0], task.state_name) for task in client.read_task_runs(flow_run_filter=of_run)}
    assert {("ingest", "Cached"), ("quantize", "Completed")} <= states, "a step that was done is not done again"


def test_a_cancelled_run_stops_its_job_and_builds_of_the_same_share_one(
    site: Site, client: SyncPrefectClient, nightly: UUID, values: Config, undisturbed: Files, start: Start
) -> None:
    store = site.store("cancelled")
    flow_run = run(client, nightly, config={**values, "store": store})
    until(client, flow_run.id, store, "ingest")
    assert jobs(site, flow_run.id) == ["RUNNING"]
    client.set_flow_run_state(flow_run.id, Cancelling())
    wait_for("the job's end", lambda: jobs(site, flow_run.id) == ["STOPPED"], STOPPED_SECONDS)
    killed = start(store)
    wait_for("its job", lambda: "submitted Ray job" in killed.log.read_text(), BUILD_SECONDS)
    kill(killed.process)
    for build in [start(store), start(store)]:
        assert "was running already" in build.end()
    check_same(store, undisturbed)


def test_two_builds_of_one_store_at_once(site: Site, start: Start) -> None:
    store = site.store("two")
    builds = [start(store), start(store, "unit_language.vocab_size=50")]
    codes = [build.process.wait(BUILD_SECONDS) for build in builds]
    said = [build.log.read_text() for build in builds]
    assert sorted(codes) == [0, 2], said
    assert any("another build committed version 1" in " ".join(text.split()) for text in said)
    verify(store)


def test_a_node_dies_in_quantize_and_a_ray_worker_in_encode(site: Site, start: Start, undisturbed: Files) -> None:
    store = site.store("node")
    build = start(store, "run.ray_above_seconds=0")
    build.until("quantize")
    site.ray.kill_worker()
    assert receipts(store, "quantize") < work_units(undisturbed, "quantize"), "killed too late"
    site.ray.add_worker()
    build.until("encode")
    raylets = [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in site.ray.workers]
    workers = [child for raylet in raylets for child in raylet.children(recursive=True)]
    victim = next(worker for worker in workers if "MapWorker" in " ".join(worker.cmdline()))
    victim.kill()
    assert receipts(store, "encode") < work_units(undisturbed, "encode"), "killed too late"
    build.end()
    check_same(store, undisturbed)


def test_the_prefect_server_is_away_and_s3_refuses_a_tenth_of_the_requests(
    site: Site, start: Start, undisturbed: Files
) -> None:
    store = site.store("away")
    build = start(store)
    build.until("ingest")
    with site.s3.refusing(0.1):
        site.prefect.kill()
        time.sleep(AWAY_SECONDS)
        site.prefect.start()
        site.prefect.ready()
        build.end()
    assert site.s3.refused > 20
    check_same(store, undisturbed)


def test_a_mistake_is_told_as_without_a_cluster(site: Site, start: Start) -> None:
    said = start(site.store("mistake"), "quantizer.k=9000", "unit_language.vocab_size=9001").end(code=2)
    assert "lower quantizer.k" in said
    assert "Traceback" not in said


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of so many bytes, where this process may mount one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_spill_disk_of_a_worker_does_no_harm(site: Site, start: Start, undisturbed: Files) -> None:
    with small_disk(site.folder / "spill", "1m") as disk:
        (disk / "full").write_bytes(bytes(2**20))
        store = site.store("spill")
        site.ray.kill_worker()
        site.ray.kill_worker()
        site.ray.add_worker(num_cpus=2, object_spilling_directory=str(disk))
        start(store).end()
        check_same(store, undisturbed)
        site.ray.kill_worker()
    site.ray.add_worker()
    site.ray.add_worker()


def test_a_full_disk_is_told_and_with_room_the_build_goes_on(site: Site, start: Start, undisturbed: Files) -> None:
    with small_disk(site.folder / "disk", "100k") as disk:
        store = str(disk / "store")
        assert "No space left on device" in start(store).end(code=2)
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        start(store).end()
        check_same(store, undisturbed)
