"""Builds with a file that kills every process that opens it: all else is computed once, and the file is named."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipelines.build.verify import verify
from pipelines.engine.crashes import DEATHS
from storage.tables import read_table
from storage.versions import resolve
from tests.imports import ROOT
from tests.storms import BUSY, CLI
from tests.toys.deadly.sitecustomize import HUNGER_BYTES

pytestmark = pytest.mark.slow

Config = dict[str, Any]
FUNCTIONS = {"ingest": "ingest_entries", "quantize": "quantize_rows"}
DECODERS = "decode"
"""Function of actors that decode for others; that of the sample dies too, which its worker makes up for."""
GUILTY = "clip005deadly"
CLIPS, WORK_UNITS = 12, 4


class Build:
    """Runs `echox build` on 12 clips in work units of a few, one of which is deadly to a step."""

    def __init__(self, folder: Path, config: Config, step: str, way: str, *, ray: bool, apart: bool = False) -> None:
        speech = Path(shutil.copytree(config["sources"][0]["path"], folder / "speech"))
        for path in speech.glob("clip005.*"):
            path.rename(path.with_stem(GUILTY))
        config["sources"][0]["path"] = str(speech)
        config["work_units"] = {"minutes": 1, "items": CLIPS // WORK_UNITS}
        config["run"] = {"ray_above_seconds": 0 if ray else 1000, "workers": 1, "decode": "apart" if apart else "auto"}
        functions = f"{FUNCTIONS[step]},{DECODERS}" if apart else FUNCTIONS[step]
        self.store = Path(config["store"])
        self._config = folder / "config.yaml"
        self._config.write_text(json.dumps(config))
        self._log = folder / "opened"
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "tests/toys/deadly"),
            "ECHOX_DEADLY": f"{functions}:{way}",
            "ECHOX_DEADLY_LOG": str(self._log),
        }

    def run(self, *changes: str) -> subprocess.CompletedProcess[str]:
        command = [*CLI, "build", str(self._config), *(part for value in changes for part in ("--set", value))]
        ran = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False, timeout=300)
        return self.run(*changes) if BUSY in ran.stderr else ran

    def opened(self) -> set[str]:
        """Names of the files that the step has opened since the last call."""
        names = self._log.read_text().split() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return set(names)

    def receipts(self, step: str) -> list[dict[str, Any]]:
        folder = self.store / "data/receipts" / step
        return [json.loads(path.read_text()) for path in folder.glob("*.json")]

    def rejects(self) -> list[dict[str, Any]]:
        place, version = resolve(self.store)
        files = [file for receipts in version.steps.values() for receipt in receipts for file in receipt.files]
        return [row for file in files if file.table == "rejects" for row in read_table(place, file.path).to_pylist()]


CASES = [
    pytest.param("ingest", "SIGSEGV", False, id="ingest in process"),
    pytest.param("quantize", "hunger", False, id="quantize in process, memory"),
    pytest.param("ingest", "hunger", True, id="ingest on Ray, memory"),
    pytest.param("quantize", "SIGABRT", True, id="quantize on Ray"),
]


def test_a_file_that_kills_its_decoder_is_named_and_may_be_rejected(config: Config, tmp_path: Path) -> None:
    """Decoders on Ray, which decode for other workers, die; a child of such a worker finds the file."""
    build = Build(tmp_path, config, "quantize", "SIGSEGV", ray=True, apart=True)
    stopped = build.run()
    assert stopped.returncode == 2, stopped.stderr
    said = stopped.stderr.replace("\n", "")
    assert re.search(
        rf"step quantize, work unit \w+: SIGSEGV, peak memory \d+ MiB: utterance clips/{GUILTY}\.wav", said
    )
    assert len(build.receipts("quantize")) == WORK_UNITS - 1
    rejected = build.run("run.on_crash=reject", "max_reject_ratio=0.5")
    assert rejected.returncode == 0, rejected.stderr
    (reject,) = build.rejects()
    assert (reject["step"], reject["reason"], reject["utterance_id"]) == ("quantize", "crashed", f"clips/{GUILTY}.wav")
    assert list((build.store / "failures/begun").glob("*")) == []


@pytest.mark.parametrize(("step", "way", "ray"), CASES)
def test_a_deadly_file_is_named_and_may_be_rejected(
    step: str, way: str, ray: bool, config: Config, tmp_path: Path
) -> None:
    build = Build(tmp_path, config, step, way, ray=ray)
    number = signal.SIGKILL if way == "hunger" else signal.Signals[way]
    if not ray:  # the build itself dies
        assert [build.run().returncode for _ in range(DEATHS)] == [-number] * DEATHS
    stopped = build.run()
    assert stopped.returncode == 2, stopped.stderr
    said = re.search(
        rf"step {step}, work unit (\w+): {number.name}, peak memory (\d+) MiB: "
        rf"utterance clips/{GUILTY}\.wav, audio \S*{GUILTY}\.wav",
        stopped.stderr.replace("\n", ""),
    )
    assert said, stopped.stderr
    assert int(said[2]) > (HUNGER_BYTES / 2**20 if way == "hunger" else 50)
    assert "Nothing was committed" in stopped.stderr
    assert not (build.store / "manifests").exists()
    receipts = build.receipts(step)
    assert said[1] not in {receipt["fingerprint"] for receipt in receipts}
    assert len(receipts) == WORK_UNITS - 1
    assert len(build.opened()) == CLIPS

    rejected = build.run("run.on_crash=reject", "max_reject_ratio=0.5")
    assert rejected.returncode == 0, rejected.stderr
    assert len(build.opened()) == CLIPS // WORK_UNITS, "only the work unit that is not finished is computed"
    (reject,) = build.rejects()
    assert (reject["step"], reject["reason"]) == (step, "crashed")
    assert reject["utterance_id"] == f"clips/{GUILTY}.wav"
    assert f"kills the process that computes it: {number.name}" in reject["message"]
    place, version = resolve(build.store)
    assert sum(receipt.rows_out for receipt in version.steps["quantize"]) == CLIPS - 1
    assert list(verify(place, version)) == []
    assert list((build.store / "failures/begun").glob("*")) == []

    again = build.run("run.on_crash=reject", "max_reject_ratio=0.5")
    assert (again.returncode, build.opened()) == (0, set())
    assert "nothing to do" in again.stderr
