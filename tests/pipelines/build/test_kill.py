"""Whatever is killed, and whenever: after a rerun the corpus is the one of an undisturbed build, byte for byte."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from pipelines.build.commit import Built
from pipelines.build.verify import verify
from storage.versions import resolve

Config = dict[str, Any]
CLI = [sys.executable, "-c", "from flows.cli import main; main()"]
SECONDS_TO_END = 180


@dataclass(frozen=True)
class Kill:
    """Kill `victim` as soon as `step` has left `count` receipts (or planned chunks, for `items`).

    A driver without Ray does the work itself; its death is the fastest to try.
    """

    step: Literal["items", "ingest", "sample_features", "quantize", "encode", "shard"]
    count: int
    victim: Literal["driver", "worker", "raylet"]
    ray: bool = True

    def due(self, store: Path) -> bool:
        folder = store / "data" / ("items" if self.step == "items" else f"receipts/{self.step}")
        return folder.is_dir() and sum(1 for path in folder.iterdir() if "#" not in path.name) >= self.count

    def strike(self, driver: psutil.Process) -> None:
        """SIGKILL; a worker is only missing when its step has just ended, and then any Ray worker will do."""
        if self.victim == "driver":
            driver.kill()
            return
        children = driver.children(recursive=True)
        if self.victim == "raylet":
            found = [child for child in children if child.name() == "raylet"]
        else:
            workers = [child for child in children if child.is_running() and "ray::" in " ".join(child.cmdline())]
            found = sorted(workers, key=lambda child: "Worker" not in " ".join(child.cmdline()))
        assert found, f"no {self.victim} to kill at {self}"
        found[0].kill()


KILLS = (
    Kill("items", 1, "driver", ray=False),
    Kill("ingest", 1, "driver", ray=False),
    Kill("ingest", 3, "worker"),
    Kill("sample_features", 1, "driver"),
    Kill("quantize", 1, "worker"),
    Kill("quantize", 4, "raylet"),
    Kill("quantize", 12, "driver", ray=False),
    Kill("encode", 1, "worker"),
    Kill("encode", 4, "raylet"),
    Kill("encode", 12, "driver", ray=False),
    Kill("shard", 1, "driver", ray=False),
)


def start(config: Path, *, ray: bool) -> psutil.Process:
    command = [*CLI, "build", str(config), "--set", f"run.ray_above_seconds={0 if ray else 1000}"]
    return psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run_until_killed(process: psutil.Process, store: Path, kills: list[Kill]) -> None:
    """Strike whenever the next kill is due, until the driver is gone."""
    deadline = time.monotonic() + SECONDS_TO_END
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"the build hangs; still to kill: {kills}"
        if kills and kills[0].due(store):
            kill = kills.pop(0)
            kill.strike(process)
            if kill.victim == "driver":
                break
        time.sleep(0.005)
    process.wait(SECONDS_TO_END)


def tables(store: Path) -> dict[str, bytes]:
    """Every file that the corpus consists of, and nothing else."""
    folders = (store / "data", store / "training", store / "artifacts")
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file() and "#" not in path.name]
    return {str(path.relative_to(store)): path.read_bytes() for path in paths}


ONE_OF_EACH = (Kill("quantize", 1, "worker"), Kill("quantize", 4, "raylet"), Kill("encode", 12, "driver", ray=False))
"""Each kind of victim dies once; all of `KILLS` take a minute and a half."""


@pytest.mark.parametrize("planned", [ONE_OF_EACH, pytest.param(KILLS, marks=pytest.mark.slow)], ids=["few", "all"])
def test_killed_at_every_step(
    config: Config, run_build: Callable[..., Built], tmp_path: Path, planned: tuple[Kill, ...]
) -> None:
    config["work_units"] = {"minutes": 0.04, "items": 3}
    run_build({**config, "store": str(tmp_path / "undisturbed")})
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config))
    store = Path(config["store"])
    kills = list(planned)
    runs = 0
    while kills:
        run_until_killed(start(path, ray=kills[0].ray), store, kills)
        runs += 1
        assert runs <= len(planned) + 2, f"some kills never became due: {kills}"
    assert start(path, ray=False).wait(SECONDS_TO_END) == 0
    assert tables(store) == tables(tmp_path / "undisturbed")
    place, version = resolve(store)
    assert version.number == 1
    assert list(verify(place, version)) == []
    undisturbed = resolve(tmp_path / "undisturbed")[1]
    assert version.steps == undisturbed.steps
    assert version.statistics == undisturbed.statistics
