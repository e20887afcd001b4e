"""Check sources that were read wrongly, from the listing to the rows and rejects of `ingest`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.step import Reject
from pipelines.entries.entries import Admission, described, to_line
from pipelines.readers import READERS
from pipelines.records import UtteranceRow
from pipelines.steps.ingest import ingest_entries


@pytest.fixture
def cases(shared_data: Path) -> Path:
    path = shared_data / "cases"
    if not path.is_dir():
        pytest.skip(f"no cases at {path}")
    return path


IngestSource = Callable[..., tuple[list[UtteranceRow], list[Reject]]]


@pytest.fixture
def ingest() -> IngestSource:
    """Lists a source and ingests all of its entries as one work unit."""

    def run(kind: str, path: Path, **options: Any) -> tuple[list[UtteranceRow], list[Reject]]:
        source = READERS[kind].model_validate({"path": str(path), "dataset": "d", **options})
        groups = Admission().groups(source.read())
        lines = [json.loads(to_line(described(entry, None))) for group in groups for entry in group.entries]
        output = ingest_entries(lines, 30, 400)
        rows: list[Any] = [row for _, table in output.tables for row in table.to_pylist()]
        assert output.rows_in == len(lines) == len(rows) + len(output.rejects)
        return rows, output.rejects

    return run


def spans(rows: list[UtteranceRow]) -> list[tuple[int, int, str | None]]:
    return [(row["offset_samples"], row["num_samples"], row["text"]) for row in rows]


@pytest.mark.parametrize("name", ["segments_start_time.jsonl", "segments_capital.csv"])
def test_rows_that_state_their_times_are_segments(cases: Path, ingest: IngestSource, name: str) -> None:
    rows, rejects = ingest("manifest", cases / "manifests" / name)
    assert rejects == []
    assert spans(rows) == [(1_600, 8_000, "one"), (9_600, 9_600, "two")]


def test_rows_that_state_a_channel_have_it_alone(cases: Path, ingest: IngestSource) -> None:
    rows, rejects = ingest("manifest", cases / "manifests" / "channel.jsonl")
    assert rejects == []
    assert [(row.get("channel"), row["text"]) for row in rows] == [(0, "one"), (1, "two")]
    assert len({row["utterance_id"] for row in rows}) == 2
    rows, _ = ingest("manifest", cases / "manifests" / "channel.jsonl", ignore_columns=["channel"])
    assert [(row.get("channel"), row["text"]) for row in rows] == [(None, "one"), (None, "two")]


def test_samples_at_the_files_rate_become_samples_at_16_khz(cases: Path, tmp_path: Path, ingest: IngestSource) -> None:
    audio = cases / "manifests" / "clips" / "8000.mp3"
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"audio": str(audio), "start_sample": 1_000, "end_sample": 5_000, "text": "x"}))
    rows, rejects = ingest("manifest", manifest)
    assert rejects == []
    assert spans(rows) == [(2_000, 8_000, "x")]


def test_nan_is_a_missing_value(cases: Path, ingest: IngestSource) -> None:
    rows, rejects = ingest("manifest", cases / "manifests" / "nan_text.jsonl")
    assert rejects == []
    assert [(row["text"], row["speaker_id"]) for row in rows] == [(None, None), ("ok", None)]


def test_a_line_that_is_listed_twice_is_counted_twice(cases: Path, ingest: IngestSource) -> None:
    rows, rejects = ingest("manifest", cases / "manifests" / "identical_lines.jsonl")
    assert [row["utterance_id"] for row in rows] == ["d/clips/a.wav", "d/clips/b.wav"]
    assert [(reject.reason, reject.utterance_id) for reject in rejects] == [("duplicate_id", "d/clips/a.wav")]


def test_dialogues_without_turns_and_audio_of_a_dialogue_are_accounted_for(cases: Path, ingest: IngestSource) -> None:
    rows, rejects = ingest("conversation", cases / "conversation_empty_turns" / "data.json")
    assert [(row["utterance_id"], row["text"]) for row in rows] == [("d/t/1", "a")]
    assert [(reject.reason, reject.utterance_id) for reject in rejects] == [("bad_row", None), ("missing", "d/t/0")]
    assert rejects[1].source.endswith("conversation_empty_turns/x.wav")


def test_durations_that_count_an_encoders_padding_are_those_of_whole_files(cases: Path, ingest: IngestSource) -> None:
    rows, rejects = ingest("manifest", cases / "manifests" / "nemo_mp3_duration_by_ffprobe.json")
    assert rejects == []
    assert spans(rows) == [(0, 19_200, "x"), (0, 17_920, "x")]


def test_a_tsv_as_pandas_writes_it(cases: Path, ingest: IngestSource) -> None:
    rows, rejects = ingest("manifest", cases / "manifests" / "pandas_quoted.tsv")
    assert rejects == []
    assert [row["text"] for row in rows] == ['"Good-bye," said the boy.', "two lines", "plain"]


def test_a_text_in_capitals_belongs_to_audio_in_capitals(cases: Path, ingest: IngestSource) -> None:
    rows, rejects = ingest("folder", cases / "upper")
    assert rejects == []
    assert [(row["utterance_id"], row["text"]) for row in rows] == [("d/SA1.WAV", "She had your dark suit")]


def test_an_array_of_rows(cases: Path, ingest: IngestSource) -> None:
    rows, rejects = ingest("manifest", cases / "manifests" / "array.json")
    assert rejects == []
    assert [row["utterance_id"] for row in rows] == ["d/clips/a.wav", "d/clips/b.wav"]
