import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.config.build import BuildConfig
from pipelines.engine.execution import ExecutionConfig
from pipelines.engine.step import WorkUnit
from pipelines.entries.entries import Admission
from pipelines.entries.roots import roots_of
from pipelines.readers import BadItem, Item
from pipelines.readers.base import Reader
from pipelines.readers.folder import FolderReader
from pipelines.records import IngestPayload
from pipelines.sources.audio_files import FileFacts
from pipelines.sources.cutting import cut, dialogues
from pipelines.sources.planning import Planner, follow
from pipelines.sources.retries import Retries
from pipelines.sources.screen import Screen
from pipelines.steps.ingest import (
    Ingest,
    ingest_entries,
    normalise_text,
    segment_length,
    utterance_row,
)
from storage.store import Store
from storage.suppression.merged import Suppression
from unitlang.errors import AudioError

RATE = 16_000
MINUTE = 60 * RATE
KEY = bytes(16)


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Ten seconds of noise."""
    path = tmp_path / "ten.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 10 * RATE), RATE, subtype="PCM_16")
    return path


def row(samples: int = MINUTE, dialogue: str | None = None, dataset: str = "d") -> dict[str, Any]:
    return {"num_samples": samples, "dialogue_id": dialogue, "dataset": dataset}


def minutes(groups: list[list[dict[str, Any]]]) -> list[list[float]]:
    return [[row["num_samples"] / MINUTE for row in group] for group in groups]


def item(uri: Path | str | None, **values: Any) -> Item:
    return Item(**{"utterance_id": "d/a", "dataset": "d", "uri": None if uri is None else str(uri), **values})


def entry(thing: Item | BadItem) -> dict[str, Any]:
    return {"kind": "bad" if isinstance(thing, BadItem) else "item", "key": thing.key().hex(), "item": asdict(thing)}


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([1, 1, 1, 1], [[1, 1], [1, 1]]),
        ([1, 1, 1], [[1, 1], [1]]),
        ([1, 1.5, 0.5], [[1], [1.5, 0.5]]),
        ([5, 1, 1], [[5], [1, 1]]),
        ([0, 2, 0, 0.1], [[0, 2, 0], [0.1]]),
        ([], []),
    ],
)
def test_cut_fills_groups_of_two_minutes_in_order(lengths: list[float], groups: list[list[float]]) -> None:
    assert minutes(list(cut([row(int(length * MINUTE)) for length in lengths], 2))) == groups


def test_cut_keeps_a_dialogue_whole_however_long() -> None:
    rows = [row(), *(row(dialogue="x") for _ in range(4)), row()]
    assert [len(group) for group in cut(rows, 2)] == [1, 4, 1]


def test_turns_of_one_dialogue_stay_together_and_ids_count_within_their_dataset() -> None:
    rows = [row(), row(), row(dialogue="x"), row(dialogue="x"), row(dialogue="y"), row(dialogue="y", dataset="e")]
    found = list(dialogues(rows))
    assert [len(group) for group in found] == [1, 1, 2, 1, 1]
    assert [row for group in found for row in group] == rows


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  two\twords \n", "two words"),
        ("cafe\u0301", "caf\u00e9"),
        ("a\x00b\x1fc", "a b c"),
        ("no\u00a0break\u3000space", "no break space"),
        ("Größe, 中文 👍", "Größe, 中文 👍"),
        (" \n\x07", None),
        ("", None),
        (None, None),
    ],
)
def test_normalise_text(text: str | None, normal: str | None) -> None:
    assert normalise_text(text) == normal


def test_a_row_tells_all_of_the_audio(audio: Path) -> None:
    found = utterance_row(item(audio, text=" hello ", size=5, turn=None), KEY, FileFacts(), 400)
    assert found["num_samples"] == 10 * RATE
    assert found["sample_rate"] == RATE
    assert found["checksum"] == sha256(audio.read_bytes()).hexdigest()
    assert found["audio"] == {"uri": str(audio), "bytes": None}
    assert (found["text"], found["source_key"]) == ("hello", KEY)
    assert "uri" not in found
    assert "size" not in found


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, 10 * RATE),
        (2 * RATE, None, 8 * RATE),
        (2 * RATE, 3 * RATE, 3 * RATE),
        (0, 10 * RATE + 1600, 10 * RATE),
        (9 * RATE, RATE + 1, RATE),
        (0, 10 * RATE - 1600, 10 * RATE - 1600),
        (10 * RATE - 400, None, 400),
    ],
)
def test_a_segment_that_ends_a_tenth_of_a_second_late_ends_with_the_audio(
    audio: Path, offset: int, length: int | None, expected: int
) -> None:
    found = utterance_row(item(audio, offset_samples=offset, num_samples=length), KEY, FileFacts(), 400)
    assert (found["offset_samples"], found["num_samples"]) == (offset, expected)


@pytest.mark.parametrize(
    ("offset", "length", "segment"),
    [(9 * RATE, 2 * RATE, "from 9.000 s to 11.000 s"), (11 * RATE, None, "from 11.000 s on")],
)
def test_a_bad_segment_is_told_in_seconds(audio: Path, offset: int, length: int | None, segment: str) -> None:
    with pytest.raises(AudioError) as error:
        utterance_row(item(audio, offset_samples=offset, num_samples=length), KEY, FileFacts(), 400)
    told = f"the segment {segment} is empty or lies outside the audio, which is 10.000 s long"
    assert error.value.message == told


@pytest.mark.parametrize(
    ("offset", "length", "reason"),
    [
        (0, 10 * RATE + 8_001, "bad_segment"),
        (1, 10 * RATE + 1_600, "bad_segment"),
        (10 * RATE, None, "bad_segment"),
        (10 * RATE, 1600, "bad_segment"),
        (11 * RATE, RATE, "bad_segment"),
        (0, 0, "bad_segment"),
        (0, 399, "too_short"),
        (10 * RATE - 399, None, "too_short"),
    ],
)
def test_bad_segments_have_reasons(audio: Path, offset: int, length: int | None, reason: str) -> None:
    with pytest.raises(AudioError) as error:
        utterance_row(item(audio, offset_samples=offset, num_samples=length), KEY, FileFacts(), 400)
    assert error.value.reason == reason
    assert error.value.source == str(audio)


@pytest.mark.parametrize(
    ("samples", "stated", "length"),
    [
        (19_200, 21_888, 19_200),
        (3_520, 6_560, 3_520),
        (160_000, 168_000, 160_000),
        (160_000, 168_001, None),
        (3_520, 7_041, None),
        (800, 2_400, 800),
        (160_000, 152_000, 152_000),
    ],
)
def test_a_length_with_the_padding_of_an_encoder_is_that_of_the_whole_file(
    samples: int, stated: int, length: int | None
) -> None:
    whole = item("/a.mp3", num_samples=stated)
    if length is None:
        with pytest.raises(AudioError, match="lies outside"):
            segment_length(whole, samples, 400)
    else:
        assert segment_length(whole, samples, 400) == length


def test_a_written_turn_has_no_audio() -> None:
    found = utterance_row(item(None, text="yes", dialogue_id="x", turn=1, role="assistant"), KEY, FileFacts(), 400)
    assert [found[name] for name in ("audio", "num_samples", "sample_rate", "checksum")] == [None, 0, None, None]


def test_segments_of_one_file_are_measured_once(audio: Path) -> None:
    facts = FileFacts()
    first = utterance_row(item(audio, num_samples=RATE), KEY, facts, 400)
    audio.unlink()
    second = utterance_row(item(audio, offset_samples=RATE, num_samples=RATE), KEY, facts, 400)
    assert second["checksum"] == first["checksum"]
    with pytest.raises(AudioError) as error:
        utterance_row(item(audio), KEY, FileFacts(), 400)
    assert error.value.reason == "missing"


def test_a_bad_file_is_bad_for_all_its_segments_and_no_longer(audio: Path, tmp_path: Path) -> None:
    facts = FileFacts()
    absent = tmp_path / "absent.wav"
    for offset in (0, RATE):
        with pytest.raises(AudioError, match=r"absent\.wav"):
            utterance_row(item(absent, offset_samples=offset), KEY, facts, 400)
    assert utterance_row(item(audio), KEY, facts, 400)["num_samples"] == 10 * RATE


def test_entries_become_rows_and_rejects_and_all_are_counted(audio: Path, tmp_path: Path) -> None:
    spoken = item(audio)
    written = item(None, utterance_id="d/b", text="yes")
    absent = item(tmp_path / "absent.wav", utterance_id="e/c", dataset="e")
    line = BadItem(source="list.tsv:3", dataset="e", reason="bad_row", message="no path")
    output = ingest_entries([entry(thing) for thing in (spoken, absent, line, written)], 30, 400)
    ((name, table),) = output.tables
    assert (name, table["utterance_id"].to_pylist()) == ("utterances", ["d/a", "d/b"])
    assert (output.rows_in, output.rows_out) == (4, 2)
    assert [(reject.dataset, reject.reason, reject.utterance_id) for reject in output.rejects] == [
        ("e", "missing", "e/c"),
        ("e", "bad_row", None),
    ]
    assert [reject.source_key for reject in output.rejects] == [absent.key(), line.key()]
    assert output.stats == {"seconds": [10.0], "datasets": {"d": {"utterances": 1, "samples": 10 * RATE}}}


def planned_units(store: Store, step: Ingest, sources: Sequence[Reader], size: int) -> list[WorkUnit[IngestPayload]]:
    """The work units of a first build."""
    planner = Planner(store, step.identity(), size, roots_of(sources))
    config = BuildConfig.model_construct(sources=tuple(sources), run=ExecutionConfig(), gone=None)
    follow(planner, config, {}, Screen(Suppression(), lambda _item: ()), Retries(), cleared=True)
    return planner.new


def test_planning_again_gives_the_same_work_units_and_every_entry_once(audio: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", create=True)
    source = FolderReader(path=str(audio.parent), dataset="d")
    for number in range(4):
        (audio.parent / f"{number}.wav").symlink_to(audio)
    first = planned_units(store, Ingest(30), [source, source], 2)
    assert planned_units(store, Ingest(30), [source, source], 2) == first
    lines = [[json.loads(line) for line in store.get(unit.payload["path"]).splitlines()] for unit in first]
    assert [len(chunk) for chunk in lines] == [2, 2, 1]
    items = [line["item"] for chunk in lines for line in chunk]
    assert [values["utterance_id"] for values in items] == ["d/0.wav", "d/1.wav", "d/2.wav", "d/3.wav", "d/ten.wav"]
    assert [values["uri"] for values in items] == ["0.wav", "1.wav", "2.wav", "3.wav", "ten.wav"]
    others = planned_units(store, Ingest(20), [source], 2)
    assert {unit.fingerprint for unit in others}.isdisjoint(unit.fingerprint for unit in first)


def admitted(admission: Admission, *entries: Item | BadItem) -> list[Item | BadItem]:
    return [entry for group in admission.groups(entries) for entry in group.entries]


def test_a_taken_id_is_a_reject_and_the_same_entry_of_another_source_is_none() -> None:
    admission = Admission()
    first, second = item("/a.wav"), item("/b.wav")
    assert admitted(admission, first) == [first]
    assert admitted(admission, first) == []
    (rejected,) = admitted(admission, second)
    assert isinstance(rejected, BadItem)
    assert (rejected.reason, rejected.source, rejected.utterance_id) == ("duplicate_id", "/b.wav", "d/a")
    assert admitted(admission, second) == []


def test_an_entry_that_its_source_lists_again_is_a_reject_each_time_with_a_name_of_its_own() -> None:
    same = item("/a.wav")
    groups = list(Admission().groups([same, same, same]))
    assert [getattr(group.entries[0], "reason", "ok") for group in groups] == ["ok", "duplicate_id", "duplicate_id"]
    assert len({group.name for group in groups}) == 3
    assert [group.name for group in Admission().groups([same, same, same])] == [group.name for group in groups]


def test_the_name_of_an_entry_does_not_depend_on_what_is_said_about_it() -> None:
    one, other = item("/a.wav", text="x"), item("/moved/a.wav", text="y", size=7)
    names = [next(iter(Admission().groups([entry]))).name for entry in (one, other)]
    assert names[0] == names[1]


def turns(name: str, *texts: str | None) -> list[Item | BadItem]:
    """The turns of a written dialogue; None for a bad one."""
    return [
        BadItem(
            source=f"{name}:{turn}",
            dataset="d",
            reason="bad_row",
            message="",
            utterance_id=f"d/{name}/{turn}",
            dialogue_id=name,
        )
        if text is None
        else item(None, utterance_id=f"d/{name}/{turn}", text=text, dialogue_id=name, turn=turn)
        for turn, text in enumerate(texts)
    ]


class ListReader(Reader):
    """Yields what it was given."""

    entries: tuple[Item | BadItem, ...]

    def read(self) -> Iterator[Item | BadItem]:
        yield from self.entries


def planned(store: Store, chunk: int, *entries: Item | BadItem) -> list[list[tuple[str, str]]]:
    """Utterance id and reason (`ok`) of each planned entry, by chunk."""
    source = ListReader(path="/nowhere", dataset="d", entries=entries)
    units = planned_units(store, Ingest(30), [source], chunk)
    lines = [[json.loads(line)["item"] for line in store.get(unit.payload["path"]).splitlines()] for unit in units]
    return [[(line["utterance_id"], line.get("reason", "ok")) for line in part] for part in lines]


@pytest.mark.parametrize("between", [[], [item(None, utterance_id="d/other", text="x")]])
def test_of_two_dialogues_with_one_id_the_first_counts_and_the_second_is_rejected_whole(
    tmp_path: Path, between: list[Item | BadItem]
) -> None:
    store = Store.open(tmp_path / "store", create=True)
    first, second = turns("1", "a", "b"), turns("1", "A", "B", "C")
    (found,) = planned(store, 100, *first, *between, *second)
    assert found[:2] == [("d/1/0", "ok"), ("d/1/1", "ok")]
    assert found[-3:] == [(f"d/1/{turn}", "duplicate_id") for turn in range(3)]
    output = ingest_entries([entry(thing) for thing in first], 30, 400)
    assert output.rows_out == 2


def test_a_dialogue_with_one_taken_id_is_rejected_whole_and_so_is_a_repeated_one(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", create=True)
    (found,) = planned(store, 100, *turns("1", "a", None), *turns("1", "a", None), *turns("1", None, None, "c"))
    assert found == [
        ("d/1/0", "ok"),
        ("d/1/1", "bad_row"),
        ("d/1/0", "duplicate_id"),
        ("d/1/1", "bad_row"),
        ("d/1/0", "bad_row"),
        ("d/1/1", "bad_row"),
        ("d/1/2", "duplicate_id"),
    ]
    taken = item(None, utterance_id="d/2/1", text="x")
    (found,) = planned(store, 100, taken, *turns("2", "a", "b", None))
    assert found[1:] == [("d/2/0", "duplicate_id"), ("d/2/1", "duplicate_id"), ("d/2/2", "bad_row")]


def shuffled_segments(files: int, segments: int) -> list[Item]:
    """Segments of five seconds of long files, in no order."""
    found = [
        item(f"{number % files}.ogg", utterance_id=f"d/{number}", offset_samples=number // files * 5 * RATE)
        for number in range(files * segments)
    ]
    np.random.default_rng(0).shuffle(found)  # pyright: ignore[reportArgumentType]
    return found


def test_segments_of_one_file_are_planned_together_and_in_order(tmp_path: Path) -> None:
    """Shuffled over their source, each file is in one work unit, or in two if a border cuts it."""
    listed = shuffled_segments(20, 60)
    store = Store.open(tmp_path / "store", create=True)
    chunks = [[int(name.removeprefix("d/")) for name, _ in chunk] for chunk in planned(store, 240, *listed)]
    assert sorted(number for chunk in chunks for number in chunk) == list(range(1_200))
    holding = [len([chunk for chunk in chunks if any(number % 20 == file for number in chunk)]) for file in range(20)]
    assert max(holding) <= 2 + 1, "and the few that come before the source is found to be shuffled"
    assert sum(holding) <= 20 + len(chunks) + 6
    for chunk in chunks[1:]:
        for file in range(20):
            of_file = [number for number in chunk if number % 20 == file]
            assert of_file == sorted(of_file)


def test_segments_in_order_stay_as_they_are(tmp_path: Path) -> None:
    listed = sorted(shuffled_segments(20, 60), key=lambda each: (str(each.uri), each.offset_samples))
    store = Store.open(tmp_path / "store", create=True)
    found = [name for chunk in planned(store, 240, *listed) for name, _ in chunk]
    assert found == [each.utterance_id for each in listed]


def test_a_bad_turn_cuts_no_dialogue(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", create=True)
    found = planned(store, 2, *turns("1", "a", "b", None, "d"), *turns("2", "a"))
    assert [[name for name, _ in chunk] for chunk in found] == [[f"d/1/{turn}" for turn in range(4)], ["d/2/0"]]
