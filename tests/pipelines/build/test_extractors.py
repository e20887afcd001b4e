"""Whole builds with the extractors of Hugging Face folders; an extractor that breaks its grid is refused."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.build.commit import Built
from pipelines.build.encode_audio import Encoder
from pipelines.build.statistics import from_version, overall
from pipelines.build.verify import verify
from pipelines.forget.forget import forget
from pipelines.forget.wanted import Wanted
from pipelines.steps.quantize import WrongFrames
from storage.receipts import data_path
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table, rows_to_parquet
from storage.versions import Version, resolve
from tests.unitlang.features.w2v_bert_models import make_w2v_bert
from tests.unitlang.features.whisper_models import make_whisper
from unitlang.errors import UnitlangError
from unitlang.features.base import FloatArray, K
from unitlang.features.w2v_bert import W2vBertConfig, W2vBertExtractor
from unitlang.frames import FrameGrid

Config = dict[str, Any]
RunBuild = Callable[..., Built]

EXTRACTORS: dict[str, tuple[Config, FrameGrid]] = {
    "whisper": ({"kind": "whisper", "layer": 3, "context_seconds": 0.4}, FrameGrid(hop=320, view=320)),
    "w2v_bert": ({"kind": "w2v_bert", "layer": 2}, FrameGrid(hop=320, view=560)),
    "w2v_bert at 25 Hz": ({"kind": "w2v_bert", "layer": 2, "pool": 2}, FrameGrid(hop=640, view=880)),
}


@pytest.fixture
def config(config: Config, tmp_path: Path) -> Config:
    """With small models of random weights beside the store."""
    make_whisper(tmp_path / "whisper")
    make_w2v_bert(tmp_path / "w2v_bert")
    return config


def build_with(config: Config, features: Config, tmp_path: Path, run_build: RunBuild) -> tuple[Store, Version]:
    run_build(config | {"features": {**features, "checkpoint": str(tmp_path / features["kind"])}})
    return resolve(config["store"])


@pytest.mark.parametrize("name", EXTRACTORS)
def test_a_build(name: str, config: Config, speech: Path, tmp_path: Path, run_build: RunBuild) -> None:
    features, grid = EXTRACTORS[name]
    store, version = build_with(config, features, tmp_path, run_build)
    assert list(verify(store, version)) == []
    found = overall(from_version(version.statistics))
    assert (found.utterances, found.compression.frames_per_second) == (12, grid.frames_per_second)
    samples = [row["num_samples"] for file in version.files("utterances") for row in rows(store, file.path)]
    assert found.compression.num_frames == sum(map(grid.num_frames, samples))

    units = {row["utterance_id"]: row for file in version.files("units") for row in rows(store, file.path)}
    encoded = Encoder.of(config["store"])(str(speech / "clip003.wav"))
    assert {key: encoded[key] for key in ("units", "durations", "num_frames")} == {
        key: units["clips/clip003.wav"][key] for key in ("units", "durations", "num_frames")
    }


def test_work_units_of_another_size_give_the_same_units(config: Config, tmp_path: Path, run_build: RunBuild) -> None:
    features, _ = EXTRACTORS["whisper"]
    tables: list[dict[str, Any]] = []
    for number, items in enumerate((1, 100)):
        values = config | {"store": str(tmp_path / f"store{number}"), "work_units": {"minutes": 10.0, "items": items}}
        store, version = build_with(values, features, tmp_path, run_build)
        tables.append({row["utterance_id"]: row for f in version.files("units") for row in rows(store, f.path)})
    assert len(tables[0]) == 12
    assert tables[0] == tables[1]


@pytest.mark.parametrize("kind", ["whisper", "w2v_bert"])
def test_forgetting_needs_no_model(
    kind: str, config: Config, speech: Path, tmp_path: Path, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, _ = EXTRACTORS[kind]
    store, before = build_with(config, features, tmp_path, run_build)
    shutil.rmtree(tmp_path / kind)
    name = "clips/clip003.wav"
    done = forget(store.uri, Wanted(ids=frozenset({name})), "a letter", Console(quiet=True))
    assert (done.built.new, done.utterances) == (True, 1)
    units = {row["utterance_id"]: row for f in before.files("units") for row in rows(store, f.path)}
    del units[name]
    version = done.built.version
    assert units == {row["utterance_id"]: row for f in version.files("units") for row in rows(store, f.path)}
    with pytest.raises(UnitlangError, match=kind):
        build_with(config | {"store": str(tmp_path / "other")}, features, tmp_path, run_build)


class Lying(W2vBertExtractor):
    """Drops the last frame of every utterance."""

    def stream_many(self, utterances: Iterable[tuple[K, Iterable[FloatArray]]]) -> Iterator[tuple[K, Any]]:
        for key, parts in groupby(super().stream_many(utterances), key=lambda item: item[0]):
            *whole, (_, last_TD) = parts
            yield from whole
            yield key, last_TD[:-1]


def test_a_lying_extractor_is_refused(
    config: Config, tmp_path: Path, run_build: RunBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(W2vBertConfig, "load", lambda config, device="cpu": Lying(config, device))
    features, grid = EXTRACTORS["w2v_bert at 25 Hz"]
    with pytest.raises(WrongFrames) as caught:
        build_with(config, features, tmp_path, run_build)
    frames = grid.num_frames(32_000)
    for part in ("extractor w2v_bert", f"{frames - 1} frames", "clips/clip000.wav", "32000 samples", f"says {frames}"):
        assert part in str(caught.value)


def test_units_that_are_not_on_the_grid_are_found(config: Config, tmp_path: Path, run_build: RunBuild) -> None:
    """As a lying extractor would have left them: the tables agree with each other, but not with the samples."""
    features, grid = EXTRACTORS["w2v_bert at 25 Hz"]
    store, version = build_with(config, features, tmp_path, run_build)

    def longer(row: dict[str, Any]) -> None:
        row["num_frames"] += 1
        if "durations" in row:
            row["durations"][-1] += 1

    lying = rewritten(rewritten(version, store, "units", longer), store, "unit_language", longer)
    (problem,) = verify(store, lying)
    frames = grid.num_frames(32_000)
    assert f"clips/clip000.wav: {frames + 1} frames, but the grid of extractor w2v_bert says {frames}" in problem


def rows(store: Store, path: str) -> list[dict[str, Any]]:
    return read_table(store, path).to_pylist()


def rewritten(version: Version, store: Store, table: str, change: Callable[[dict[str, Any]], object]) -> Version:
    """The version after a change to the first clip's row, checksum and all."""
    file = version.files(table)[0]
    found = rows(store, file.path)
    change(next(row for row in found if row["utterance_id"] == "clips/clip000.wav"))
    data = rows_to_parquet(table, pa.Table.from_pylist(found, SCHEMAS[table]))
    path = data_path(table, "changed", data)
    store.put(path, data)
    changed = replace(file, path=path, bytes=len(data), sha256=sha256(data).hexdigest())
    steps = {
        step: [replace(r, files=tuple(changed if f == file else f for f in r.files)) for r in receipts]
        for step, receipts in version.steps.items()
    }
    return replace(version, steps=steps)
