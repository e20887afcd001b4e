import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.builds import CLI, receipts
from tests.cluster.servers import wait_for
from tests.cluster.slurm import Slurm, missing, slurm_cluster
from tests.speech import write_speech
from tests.storms import faults

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(missing()), reason=f"no Slurm: {missing()}")]

SCRIPT = Path(__file__).parents[2] / "docs" / "slurm.sbatch"
SECONDS = 500.0


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def submit(slurm: Slurm, config: Path) -> str:
    """Job that builds a corpus, with the programs of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return slurm.run("sbatch", "--parsable", f"--export=ALL,PATH={path}", str(SCRIPT), "echox", "build", str(config))


def write_config(slurm: Slurm, store: Path) -> Path:
    speech = slurm.folder / "speech"
    if not speech.exists():
        write_speech(speech, 24)
    config = {
        "store": str(store),
        "sources": [{"kind": "folder", "path": str(speech), "dataset": "clips"}],
        "quantizer": {"k": 20, "iterations": 5},
        "unit_language": {"vocab_size": 60},
        "work_units": {"minutes": 0.04, "items": 3},
        "run": {"ray_above_seconds": 0},
    }
    path = store.with_suffix(".json")
    path.write_text(json.dumps(config))
    return path


def test_a_build_returns_to_the_queue_and_ends_with_the_same_corpus(slurm: Slurm) -> None:
    undisturbed, store = slurm.folder / "undisturbed", slurm.folder / "queued"
    alone = [*CLI, "build", str(write_config(slurm, undisturbed)), "--set", "run.ray_above_seconds=1000"]
    subprocess.run(alone, check=True, capture_output=True)
    job = submit(slurm, write_config(slurm, store))
    wait_for("quantize", lambda: receipts(str(store), "quantize"), SECONDS)
    slurm.run("scontrol", "requeue", job)
    wait_for("the queue", lambda: slurm.facts(job)["JobState"] == "PENDING", SECONDS)
    slurm.run("scontrol", "update", f"jobid={job}", "StartTime=now")  # Slurm waits two minutes before it tries again
    facts = slurm.end(job, SECONDS)
    log = (slurm.folder / f"echox-{job}-0.log").read_text()
    assert (facts["JobState"], facts["ExitCode"], facts["Restarts"]) == ("COMPLETED", "0:0", "1"), log
    assert faults(store, undisturbed) == []


def test_the_exit_code_is_that_of_the_command(slurm: Slurm) -> None:
    job = submit(slurm, slurm.folder / "missing.yaml")
    assert slurm.end(job, SECONDS)["ExitCode"] == "2:0"
    assert "missing.yaml" in (slurm.folder / f"echox-{job}-0.log").read_text()
