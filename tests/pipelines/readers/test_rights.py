"""Every kind of source carries licence, attribution, consent and origin: from the config, or from its rows."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from pipelines.readers import SourceConfig
from pipelines.readers.base import Item, Reader, read_source
from tests.speech import write_speech

SOURCE: TypeAdapter[Reader] = TypeAdapter(SourceConfig)
ROWS = [{"audio": "clip000.wav", "license": "MIT", "credit": "Ada"}, {"audio": "clip001.wav", "license": ""}]


def rights(kind: str, path: Path, **told: Any) -> list[tuple[str | None, str | None]]:
    """Licence and attribution of each entry."""
    source = SOURCE.validate_python({"kind": kind, "path": str(path), "dataset": "d", "confine": False, **told})
    items = [*read_source(source, 0)]
    assert all(isinstance(item, Item) for item in items), items
    return [(item.licence, item.attribution) for item in items if isinstance(item, Item)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_speech(tmp_path, 2, seconds=0.5)


def test_the_config_speaks_for_readers_without_columns(folder: Path) -> None:
    assert rights("folder", folder) == [(None, None)] * 2
    assert rights("folder", folder, licence="CC0", attribution="All of us") == [("CC0", "All of us")] * 2


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv"])
def test_a_row_of_a_manifest_goes_before_the_config(folder: Path, suffix: str) -> None:
    path = folder / f"rows.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps(ROWS))
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        mark = "," if suffix == "csv" else "\t"
        lines = [mark.join(["audio", "license", "credit"]), *(mark.join([*row.values(), ""][:3]) for row in ROWS)]
        path.write_text("\n".join(lines) + "\n")
    assert rights("manifest", path) == [("MIT", "Ada"), (None, None)]
    assert rights("manifest", path, licence="CC0") == [("MIT", "Ada"), ("CC0", None)]


@pytest.mark.parametrize("shape", ["text", "list", "struct", "binary"])
def test_columns_of_parquet_of_any_type(folder: Path, shape: str) -> None:
    values: list[Any] = {"text": ["MIT"], "list": [["MIT", "X"]], "struct": [{"id": 1}], "binary": [b"MIT"]}[shape]
    table = pa.table({"audio": [(folder / "clip000.wav").read_bytes()], "license": values, "credit": ["Ada"]})
    pq.write_table(table, folder / "a.parquet")
    said = {"text": "MIT", "list": "MIT; X", "struct": '{"id": 1}', "binary": "MIT"}[shape]
    assert rights("hf_parquet", folder / "a.parquet") == [(said, "Ada")]
    assert rights("hf_parquet", folder / "a.parquet", ignore_columns=["license"], licence="CC0") == [("CC0", "Ada")]


def test_a_turn_goes_before_its_dialogue(folder: Path) -> None:
    turns = [
        {"from": "human", "audio": "clip000.wav", "license": "MIT"},
        {"from": "gpt", "value": "written", "audio": "clip001.wav"},
    ]
    path = folder / "talk.json"
    path.write_text(json.dumps([{"id": "a", "license": "CC0", "conversations": turns}]))
    assert rights("conversation", path, attribution="Us") == [("MIT", "Us"), ("CC0", "Us")]


def test_lhotse_has_them_in_custom_fields_of_supervision_and_cut(folder: Path) -> None:
    recording = {
        "id": "r",
        "sources": [{"type": "file", "channels": [0], "source": str(folder / "clip000.wav")}],
        "sampling_rate": 16000,
        "num_samples": 8000,
        "duration": 0.5,
    }
    part = {"id": "s", "start": 0, "duration": 0.2, "channel": 0, "custom": {"license": "MIT"}}
    cut = {
        "id": "c",
        "start": 0,
        "duration": 0.5,
        "channel": 0,
        "recording": recording,
        "supervisions": [part, {**part, "id": "t", "custom": None}],
        "custom": {"license": "CC0", "credit": "Ada"},
    }
    path = folder / "cuts.jsonl"
    path.write_text(json.dumps(cut) + "\n")
    assert rights("lhotse", path) == [("MIT", "Ada"), ("CC0", "Ada")]
