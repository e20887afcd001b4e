"""Decoding apart from computing gives the same bytes: of rows, of rejects, and whoever dies meanwhile."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
import soundfile

from pipelines.build.commit import Built
from pipelines.engine.answers import unpack
from pipelines.engine.crashes import DEATHS, deaths, mark
from pipelines.engine.execution import ExecutionConfig
from pipelines.engine.isolation import Computation
from pipelines.engine.pools.apart import Assigner, Decoder, decoded_apart
from pipelines.engine.pools.decoded import NOTHING, Decoded
from pipelines.engine.pools.growth import Room
from pipelines.engine.pools.pools import Pool, Pools, pools_of
from pipelines.engine.step import WorkUnit
from pipelines.engine.worker import pack
from pipelines.steps.encode import Encode
from pipelines.steps.quantize import Quantize
from storage.store import Store
from tests.cluster.builds import files
from tests.unitlang.features.hubert_models import BASE, make_model
from unitlang.errors import AudioError

Config = dict[str, Any]
RunBuild = Callable[..., Built]
ALONE = {"ray_above_seconds": 1000}


@pytest.fixture
def values(shared_data: Path, tmp_path: Path) -> Config:
    """Real speech, files that are broken in many ways, and sound that is not finite."""
    noise_N = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    noise_N[9_000] = 3e38
    (tmp_path / "broken").mkdir()
    soundfile.write(tmp_path / "broken/flipped.wav", noise_N, 16_000, subtype="FLOAT")
    folders = [shared_data / "audio/speechbrain", shared_data / "awkward/made", tmp_path / "broken"]
    return {
        "sources": [{"kind": "folder", "path": str(folder), "dataset": folder.name} for folder in folders],
        "quantizer": {"k": 20, "iterations": 3, "sample_hours": 0.01},
        "unit_language": {"vocab_size": 60},
        "work_units": {"minutes": 1, "items": 40},
        "max_reject_ratio": 1.0,
    }


class ApartHere:
    """Computes as decoders and workers on Ray do, in this process; notes whether a work unit was decoded apart."""

    seen: list[bool]

    def __init__(self, step: Any, store: Store, on_crash: Any) -> None:
        self._job = step, store, on_crash
        self._assigner = Assigner()

    def __call__(self, work_unit: WorkUnit[Any]) -> Any:
        step, store, on_crash = self._job
        if not step.decodes:
            return Computation(step, store, on_crash)(work_unit)
        batch = Decoder()(pa.Table.from_pylist([pack(step, store, work_unit, on_crash)]))
        ApartHere.seen.append(batch["utterances"][0].is_valid)
        return unpack({name: column[0] for name, column in self._assigner(batch).items()})


def test_real_speech_and_its_rejects_are_the_same(
    values: Config, run_build: RunBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = run_build({**values, "store": str(tmp_path / "fused"), "run": ALONE}).version
    ApartHere.seen = []
    monkeypatch.setattr("pipelines.engine.session.Computation", ApartHere)
    run_build({**values, "store": str(tmp_path / "apart"), "run": ALONE})
    units = len(version.steps["quantize"])
    assert units >= 3
    assert len(ApartHere.seen) > units  # and the sample
    assert all(ApartHere.seen)
    assert {reason for made in version.steps["quantize"] for reason in made.rejects} >= {"not_finite", "truncated"}
    assert files(str(tmp_path / "apart")) == files(str(tmp_path / "fused"))


def test_samples_blocks_and_faults_travel_as_they_are() -> None:
    blocks = [np.array([0.1, -1e-30, np.float32(1) / 3], np.float32), np.array([2.5], np.float32)]
    fault = AudioError("truncated", "ends early", "a.wav")

    def broken() -> Iterator[Any]:
        yield blocks[1]
        raise fault

    made = Decoded.of([iter(blocks), iter([]), broken(), iter(blocks[:1])])
    found = Decoded.from_row(pa.table(made.columns()))
    assert found is not None
    whole, empty, faulty, last = found.streams()
    for stream, expected in ((whole, blocks), (empty, []), (last, blocks[:1])):
        heard = list(stream)
        assert [block.tobytes() for block in heard] == [block.tobytes() for block in expected]
        assert all(block.flags.writeable for block in heard)
    assert next(faulty).tobytes() == blocks[1].tobytes()
    with pytest.raises(AudioError) as raised:
        next(faulty)
    assert raised.value.args == fault.args
    assert Decoded.from_row(pa.table(NOTHING)) is None


@pytest.fixture
def planned(config: Config, run_build: RunBuild) -> tuple[Quantize, Store, WorkUnit[Any]]:
    """A step, its store, and a work unit."""
    version = run_build(config).version
    roots = {"clips": config["sources"][0]["path"]}
    file = next(iter(version.files("utterances")))
    step = Quantize(version.artifacts["quantizer"].fingerprint)
    return step, Store.open(config["store"]), step.work_unit(file.sha256, {"path": file.path, "roots": roots}, 10.0)


def test_a_work_unit_that_killed_decoders_is_left_to_its_worker(
    planned: tuple[Quantize, Store, WorkUnit[Any]],
) -> None:
    """The worker then computes it in a child process, which finds the guilty file."""
    step, store, unit = planned
    assert decoded_apart(step, store, unit) is not None
    assert deaths(store, step, unit) == 0
    mark(store, step, unit, DEATHS - 1)
    assert decoded_apart(step, store, unit) is not None
    assert deaths(store, step, unit) == DEATHS - 1, "a death of the worker is not forgotten by decoding again"
    mark(store, step, unit, DEATHS)
    assert decoded_apart(step, store, unit) is None
    assert deaths(store, step, unit) == DEATHS


def test_what_is_too_long_or_fails_is_left_to_its_worker(planned: tuple[Quantize, Store, WorkUnit[Any]]) -> None:
    step, store, unit = planned
    assert decoded_apart(step, store, WorkUnit(unit.fingerprint, unit.payload, 3601.0)) is None
    missing = step.work_unit("none", {"path": "data/none.parquet"}, 1.0)
    assert decoded_apart(step, store, missing) is None
    assert deaths(store, step, missing) == 0


QUANTIZE = Quantize("0")
GPUS = {"CPU": 64.0, "GPU": 4.0}


@pytest.mark.parametrize(
    ("decode", "step", "gpu", "there", "computing", "decoding"),
    [
        ("auto", QUANTIZE, True, GPUS, Pool(4, {"CPU": 0, "GPU": 1}), Pool(64, {"CPU": 1})),
        ("auto", QUANTIZE, True, {"CPU": 256, "GPU": 2}, Pool(2, {"CPU": 0, "GPU": 1}), Pool(32, {"CPU": 1})),
        ("auto", QUANTIZE, True, {"CPU": 16, "GPU": 4}, Pool(4, {"CPU": 4, "GPU": 1}), None),
        ("auto", QUANTIZE, True, {"CPU": 64}, Pool(64, {"CPU": 1, "GPU": 0}), None),
        ("auto", QUANTIZE, False, GPUS, Pool(64, {"CPU": 1, "GPU": 0}), None),
        ("auto", Encode("0", 1), True, GPUS, Pool(4, {"CPU": 4, "GPU": 1}), None),
        ("fused", QUANTIZE, True, GPUS, Pool(4, {"CPU": 4, "GPU": 1}), None),
        ("apart", QUANTIZE, False, {"CPU": 1}, Pool(1, {"CPU": 0.5, "GPU": 0}), Pool(1, {"CPU": 0.5})),
        ("apart", QUANTIZE, False, {"CPU": 8}, Pool(8, {"CPU": 0.5, "GPU": 0}), Pool(8, {"CPU": 0.5})),
        ("apart", QUANTIZE, True, {"CPU": 4, "GPU": 4}, Pool(4, {"CPU": 0, "GPU": 1}), Pool(4, {"CPU": 1})),
        ("apart", Encode("0", 1), False, {"CPU": 8}, Pool(8, {"CPU": 1, "GPU": 0}), None),
    ],
)
def test_others_decode_for_gpus_where_there_are_cpus(
    decode: Any, step: Any, gpu: bool, there: dict[str, float], computing: Pool, decoding: Pool | None
) -> None:
    units = [WorkUnit(str(number), {}, 1800.0) for number in range(1000)]
    pools = pools_of(ExecutionConfig(decode=decode), step, units, Room(there, {}), 6.0, gpu)
    assert pools == Pools(computing, decoding)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes of two CPUs each."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    nodes.add_node(num_cpus=2)
    yield nodes
    nodes.shutdown()


class Killer:
    """Kills the first actor of each class on a cluster, as soon as it has started.

    It does not wait until the actor works: decoding a work unit takes less time than a look at all processes.

    Attributes:
        killed: the classes of which it has killed an actor.
    """

    def __init__(self, cluster: Any, names: list[str]) -> None:
        self._raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()]
        self._names = names
        self._stop = threading.Event()
        self.killed: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while self._names and not self._stop.wait(0.1):
            for raylet in self._raylets:
                for process in psutil.Process(raylet).children(recursive=True):
                    self._look(process)

    def _look(self, process: psutil.Process) -> None:
        try:
            title = " ".join(process.cmdline())
            name = next((name for name in self._names if name in title), None)
            if name and "__init__" not in title:
                process.send_signal(signal.SIGKILL)
                self._names.remove(name)
                self.killed.append(name)
        except psutil.Error:
            pass

    def stop(self) -> list[str]:
        self._stop.set()
        self._thread.join()
        return self.killed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mfcc", "hubert"])
def test_actors_on_ray_give_the_same_bytes_although_they_are_killed(
    kind: str, values: Config, run_build: RunBuild, tmp_path: Path, cluster: Any
) -> None:
    if kind == "hubert":
        make_model(BASE).save_pretrained(tmp_path / "hubert")
        values |= {"features": {"kind": kind, "checkpoint": str(tmp_path / "hubert"), "layer": 2}}
    run_build({**values, "store": str(tmp_path / "fused"), "run": ALONE})
    killer = Killer(cluster, ["Decoder", "Assigner"])
    # With HuBERT, only `quantize` is worth Ray here.
    run = {"ray_above_seconds": 0 if kind == "mfcc" else 10, "decode": "apart", "workers": 2}
    run_build({**values, "store": str(tmp_path / "apart"), "run": run}, cluster.address)
    assert sorted(killer.stop()) == ["Assigner", "Decoder"]
    assert files(str(tmp_path / "apart")) == files(str(tmp_path / "fused"))
