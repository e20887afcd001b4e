import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from echox.data.contents import hashed, read_contents, stated_contents
from pipelines.engine.step import Output, WorkUnit
from pipelines.records import ShardPayload, Spoken, UtteranceFile
from pipelines.sources.audio_files import checksum
from pipelines.steps.examples import Turn
from pipelines.steps.shard import (
    Draft,
    Part,
    Shard,
    ShardsConfig,
    balance,
    flacs,
    make_shard,
    plan,
    shuffled,
    to_flac,
    to_pcm,
)
from storage.receipts import DataFile, Receipt, write_output
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import rows_to_parquet
from unitlang.audio.reading import load

RATE = 16_000


def unit(number: int, seconds: float = 1800) -> UtteranceFile:
    return UtteranceFile(f"data/utterances/{number}.parquet", f"sum-{number}", 10, seconds)


def encoded(number: int) -> Receipt:
    file = DataFile("unit_language", f"data/unit_language/{number}.parquet", 10, 100, f"words-{number}")
    return Receipt(str(number), "encode", (file,), 10, 10, {}, {})


def planned(
    units: list[UtteranceFile], receipts: list[Receipt] | None = None, **values: Any
) -> list[WorkUnit[ShardPayload]]:
    step = Shard(ShardsConfig(**values).model_dump(mode="json"))
    receipts = receipts or [encoded(number) for number in range(len(units))]
    parts = shuffled([Part(unit, receipt.files[0]) for unit, receipt in zip(units, receipts, strict=True)], step)
    return [step.work_unit_of(group, {}, Spoken(utterances=[], shards=[])) for group in plan(step, parts)]


def members(tasks: list[WorkUnit[ShardPayload]]) -> list[list[int]]:
    """Numbers of the work units in each shard."""
    return [[int(Path(part["utterances"]).stem) for part in task.payload["units"]] for task in tasks]


def test_balance_deals_to_the_smallest_group() -> None:
    sized = [(0, 5.0), (1, 3.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 2.0)]
    assert balance(sized, 2) == [[0, 4], [1, 2, 3, 5]]
    assert balance([(0, 1.0)], 3) == [[0]]
    assert balance([], 3) == []


def test_shards_are_of_about_the_same_length() -> None:
    rng = np.random.default_rng(0)
    units = [unit(number, rng.uniform(60, 1800)) for number in range(100)]
    tasks = planned(units, hours=2)
    assert len(tasks) == round(sum(unit.seconds for unit in units) / 7200)
    assert all(abs(task.seconds - 7200) < 1800 for task in tasks)
    assert sorted(number for group in members(tasks) for number in group) == list(range(100))


def test_a_plan_depends_on_nothing_but_its_work_units_and_the_seed() -> None:
    units = [unit(number) for number in range(20)]
    assert planned(units, hours=2) == planned(units, hours=2)
    assert members(planned(units, hours=2)) != members(planned(units, hours=2, seed=1))
    mixed = [number for group in members(planned(units, hours=2)) for number in group]
    assert mixed != sorted(mixed)


def test_work_units_are_joined_with_their_own_words() -> None:
    for task in planned([unit(number) for number in range(20)], hours=2):
        assert all(Path(part["utterances"]).name == Path(part["words"]).name for part in task.payload["units"])


def test_other_words_are_another_shard() -> None:
    units = [unit(number) for number in range(4)]
    first = planned(units)
    other = planned(units, [*(encoded(number) for number in range(3)), encoded(99)])
    assert [task.fingerprint for task in first] != [task.fingerprint for task in other]
    assert [task.fingerprint for task in first] != [task.fingerprint for task in planned(units, asr_prompt="Write.")]


def test_no_new_work_units_no_new_shards() -> None:
    assert planned([]) == []


def row(name: str, path: Path, **values: Any) -> dict[str, Any]:
    return {
        "utterance_id": name,
        "dataset": "d",
        "task": "asr",
        "audio": {"uri": str(path), "bytes": None},
        "offset_samples": 0,
        "num_samples": 800,
        "text": name,
        "split": None,
        "source_key": bytes(16),
        "checksum": checksum(str(path)),
        **values,
    }


def write_part(store: Store, number: int, rows: list[dict[str, Any]]) -> dict[str, str]:
    """One work unit of `shard`: utterances and their words."""
    words = [
        {"utterance_id": row["utterance_id"], "dataset": "d", "words": [number], "num_runs": 1, "num_frames": 2}
        for row in rows
    ]
    part = {"utterances": f"data/utterances/{number}.parquet", "words": f"data/unit_language/{number}.parquet"}
    for name, path, values in (("utterances", part["utterances"], rows), ("unit_language", part["words"], words)):
        store.put(path, rows_to_parquet(name, pa.Table.from_pylist(values, SCHEMAS[name])))
    return part


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A second of 16-bit noise up to full scale, with both extremes."""
    pcm_N = np.random.default_rng(0).integers(-32768, 32768, RATE, dtype=np.int16)
    pcm_N[:2] = (-32768, 32767)
    soundfile.write(tmp_path / "noise.wav", pcm_N, RATE, subtype="PCM_16")
    return tmp_path / "noise.wav"


def shard(tmp_path: Path, noise: Path, **values: Any) -> Output:
    store = Store.open(tmp_path / "store", create=True)
    parts = [write_part(store, number, [row(f"d/{number}-{clip}", noise) for clip in range(20)]) for number in range(3)]
    return make_shard(store, {"units": parts}, ShardsConfig(**values))


def test_sixteen_bit_speech_comes_back_exactly(noise: Path) -> None:
    original_N, _ = soundfile.read(noise, dtype="int16")
    data = flacs([row("x", noise, num_samples=RATE)])["x"]
    returned_N, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == RATE
    assert np.array_equal(returned_N, original_N)
    assert np.array_equal(load(data), load(noise))


def test_a_segment_is_what_the_shard_holds(noise: Path) -> None:
    original_N, _ = soundfile.read(noise, dtype="int16")
    data = flacs([row("x", noise, offset_samples=5000, num_samples=777)])["x"]
    assert np.array_equal(soundfile.read(io.BytesIO(data), dtype="int16")[0], original_N[5000:5777])


def test_what_exceeds_full_scale_is_clipped_and_the_rest_rounded() -> None:
    waveform_N = np.array([2.0, -2.0, 1.0, -1.0, 0.4 / 32768, 0.6 / 32768], np.float32)
    returned_N, _ = soundfile.read(io.BytesIO(to_flac([to_pcm(waveform_N)])), dtype="int16")
    assert returned_N.tolist() == [32767, -32768, 32767, -32768, 0, 1]


@pytest.mark.parametrize("length", [1, 1000, 4096, 5000])
def test_flac_does_not_depend_on_where_its_blocks_end(length: int) -> None:
    pcm_N = np.random.default_rng(0).integers(-3000, 3000, 10_000).astype(np.int16)
    whole = io.BytesIO()
    soundfile.write(whole, pcm_N, RATE, format="FLAC", subtype="PCM_16")
    assert to_flac(pcm_N[start : start + length] for start in range(0, len(pcm_N), length)) == whole.getvalue()


def test_speech_of_two_stages_is_decoded_once(noise: Path) -> None:
    draft = Draft(ShardsConfig())
    question = Turn(row("q", noise, task="sqa", role="user", dialogue_id="d", turn=0), [1], 1)
    answer = Turn(row("a", noise, task="sqa", role="assistant", dialogue_id="d", turn=1), [2], 1)
    draft.add([question, answer])
    assert sorted(example.stage for example in draft.examples if example.heard) == ["echo", "s2t"]
    assert list(draft.heard) == ["q"]


def test_examples_are_shuffled_across_work_units_and_none_is_lost(tmp_path: Path, noise: Path) -> None:
    output = shard(tmp_path, noise)
    ((stage, table),) = output.tables
    assert stage == "s2t"
    names = table["example_id"].to_pylist()
    assert sorted(names) == sorted(f"d/{number}-{clip}" for number in range(3) for clip in range(20))
    first_half = Counter(name[2] for name in names[:30])
    assert all(first_half[number] > 2 for number in "012")
    assert (output.rows_in, output.rows_out) == (60, 60)
    paths = [[f"data/{table}/{number}.parquet" for table in ("utterances", "unit_language")] for number in range(3)]
    contents = {"s2t": {"groups": [[60, 60, 0]], "lowest": min(map(hashed, names))}}
    assert output.stats == {"examples": {"s2t": 60}, "unused": {}, "holds": paths, "contents": contents}
    assert shard(tmp_path, noise).tables[0][1].equals(table)
    assert shard(tmp_path, noise, seed=1).tables[0][1]["example_id"].to_pylist() != names


def test_a_dialogue_fills_three_tables_and_what_is_unused_is_counted(tmp_path: Path, noise: Path) -> None:
    store = Store.open(tmp_path / "store", create=True)
    talk = {"task": "sqa", "dialogue_id": "x"}
    rows = [
        row("d/q", noise, role="user", turn=0, **talk),
        row("d/a", noise, role="assistant", turn=1, **talk),
        row("d/silent", noise, text=None),
        row("d/long", noise, num_samples=31 * RATE),
    ]
    output = make_shard(store, {"units": [write_part(store, 7, rows)]}, ShardsConfig())
    tables = {stage: table.to_pylist() for stage, table in output.tables}
    assert list(tables) == ["s2t", "t2c", "echo"]
    assert [row["example_id"] for row in tables["t2c"]] == ["d/a"]
    assert tables["echo"][0]["audio"] == tables["s2t"][0]["audio"]
    assert (tables["echo"][0]["words"], tables["echo"][0]["response"]) == ([7], "d/a")
    assert output.stats.get("examples") == {"echo": 1, "s2t": 1, "t2c": 1}
    assert output.stats.get("unused") == {"no_text": 1, "too_long": 1}
    assert output.rows_in == 4


def test_a_receipt_says_what_is_in_the_files(tmp_path: Path, noise: Path) -> None:
    """Training reads the same from the file if the receipt does not say it, as those of earlier programs."""
    store = Store.open(tmp_path / "store", create=True)
    splits = ("train", None, "dev", "test")
    rows = [row(f"d/{number:03}", noise, split=splits[number % 4]) for number in range(600)]
    output = make_shard(store, {"units": [write_part(store, 0, rows)]}, ShardsConfig())
    written = write_output(
        store, "shard", "f", output.tables, rows_in=600, rows_out=600, rejects={}, stats=output.stats
    )
    (file,) = written.files
    stated = stated_contents(json.loads(json.dumps(written.stats)), file)
    assert stated is not None
    assert stated == read_contents(store, file.path)
    assert [group.rows for group in stated.groups] == [256, 256, 88]
    assert sum(group.train for group in stated.groups) == 300
    assert sum(group.valid for group in stated.groups) == 150
    assert stated_contents(written.stats, replace(file, rows=599)) is None, "not the file that the receipt means"
    assert stated_contents({"contents": {"s2t": {"groups": 1}}}, file) is None
