"""Whatever is struck, and whenever: after a rerun the corpus is the one of an undisturbed build, byte for byte."""

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from pipelines.build.commit import Built
from tests.storms import ENDS, SECONDS_TO_END, Range, Victim, blow, faults, running, start, strike

pytestmark = pytest.mark.slow

Config = dict[str, Any]


@dataclass(frozen=True)
class Kill:
    """Kill `victim` as soon as `step` has left `count` receipts (or planned chunks, for `items`).

    A driver without Ray does the work itself; its death is the fastest to try.
    """

    step: Literal["items", "ingest", "sample_features", "quantize", "encode", "shard"]
    count: int
    victim: Victim
    ray: bool = True

    def due(self, store: Path) -> bool:
        folder = store / "data" / ("items" if self.step == "items" else f"receipts/{self.step}")
        return folder.is_dir() and sum(1 for path in folder.iterdir() if "#" not in path.name) >= self.count


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


def run_until_killed(process: psutil.Process, store: Path, kills: list[Kill]) -> None:
    """Strike whenever the next kill is due, until the driver is gone."""
    deadline = time.monotonic() + SECONDS_TO_END
    while running(process):
        assert time.monotonic() < deadline, f"the build hangs; still to kill: {kills}"
        if kills and kills[0].due(store):
            kill = kills.pop(0)
            assert strike(process, kill.victim, signal.SIGKILL), f"no {kill.victim} to kill at {kill}"
            if kill.victim == "driver":
                break
        time.sleep(0.005)
    process.wait(SECONDS_TO_END)


def test_killed_at_every_step(config: Config, run_build: Callable[..., Built], tmp_path: Path) -> None:
    config["work_units"] = {"minutes": 0.04, "items": 3}
    run_build({**config, "store": str(tmp_path / "undisturbed")})
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config))
    store = Path(config["store"])
    kills = list(KILLS)
    runs = 0
    while kills:
        run_until_killed(start(path, ray=kills[0].ray), store, kills)
        runs += 1
        assert runs <= len(KILLS) + 2, f"some kills never became due: {kills}"
    assert start(path, ray=False).wait(SECONDS_TO_END) == 0
    assert faults(store, tmp_path / "undisturbed") == []


@pytest.mark.parametrize("number", ENDS)
def test_an_interrupted_build_on_ray_ends_with_the_code_of_the_signal(
    config: Config, tmp_path: Path, number: signal.Signals
) -> None:
    config["work_units"] = {"minutes": 0.04, "items": 3}
    place = Range(tmp_path, config)
    seconds = place.seconds(ray=True)
    for moment in range(2):
        name = f"{number.name}-{moment}"
        outcome = place.suffer(name, blow(name, ray=True, number=number, seconds=seconds))
        assert outcome.well, outcome
