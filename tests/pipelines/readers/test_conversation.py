import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.errors import UserError
from pipelines.readers import BadItem, Item
from pipelines.readers.base import Reader
from pipelines.readers.conversation import ConversationReader


def read(path: Path, **options: Any) -> tuple[list[Item], list[BadItem]]:
    reader: Reader = ConversationReader.model_validate({"path": str(path), "dataset": "d", **options})
    entries = list(reader.read())
    items = [entry for entry in entries if isinstance(entry, Item)]
    return items, [entry for entry in entries if isinstance(entry, BadItem)]


def test_an_unpacked_shard_of_echox_dialogues(tmp_path: Path) -> None:
    record = {
        "id": "AudioQA/7",
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "What do bees make?", "audio": "wav/7-0.wav", "wer": 0.0},
            {"from": "gpt", "value": "Honey.", "audio": {"path": "wav/7-1.wav"}},
            {"from": "human", "value": "And wax?", "audio": None},
        ],
    }
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "7-0.wav").write_bytes(b"1234")
    (tmp_path / "data.json").write_text(json.dumps([record], indent=2))
    items, bad = read(tmp_path / "data.json", language="en")
    assert bad == []
    assert items[0] == Item(
        utterance_id="d/AudioQA/7/0",
        dataset="d",
        uri=str(tmp_path / "wav" / "7-0.wav"),
        size=4,
        task="sqa",
        language="en",
        text="What do bees make?",
        dialogue_id="AudioQA/7",
        turn=0,
        role="user",
    )
    assert [(item.turn, item.role) for item in items] == [(0, "user"), (1, "assistant"), (2, "user")]
    assert items[1].uri == str(tmp_path / "wav" / "7-1.wav")
    assert items[2].uri is None
    below, _ = read(tmp_path, language="en")
    assert [item.utterance_id for item in below] == [f"d/data/AudioQA/7/{turn}" for turn in range(3)]
    assert {item.dialogue_id for item in below} == {"data/AudioQA/7"}


def test_jsonl_in_chat_format_below_a_folder(tmp_path: Path) -> None:
    chat = {
        "messages": [
            {"role": "User", "content": "Hi."},
            {"role": "assistant", "content": "Hello.", "audio": "a.wav"},
        ]
    }
    for shard in ("s1", "s0"):
        (tmp_path / shard).mkdir()
        (tmp_path / shard / "data.jsonl").write_text(f"{json.dumps(chat)}\n\n{json.dumps(chat)}\n")
    items, bad = read(tmp_path)
    assert bad == []
    names = [f"d/{shard}/data-{record}/{turn}" for shard in ("s0", "s1") for record in (0, 1) for turn in (0, 1)]
    assert [item.utterance_id for item in items] == names
    assert items[1].uri == str(tmp_path / "s0" / "a.wav")
    assert read(tmp_path, audio_dir="/audio")[0][1].uri == "/audio/a.wav"


def test_bad_records_and_turns_are_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = {"id": 1, "turns": [{"role": "user", "text": "x"}]}
    turns = [
        {"role": "user"},
        "x",
        {"text": "x"},
        {"role": "narrator", "text": "x"},
        {"role": "bot", "text": "y"},
    ]
    lines = [json.dumps(good), "nonsense", '{"id": 2}', json.dumps({"id": 3, "turns": turns}), "7"]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(lines))
    items, bad = read(path)
    assert [item.utterance_id for item in items] == ["d/1/0", "d/3/4"]
    sources = [f"{path}:2", f"{path}:3", *(f"{path}:4, turn {turn}" for turn in range(4)), f"{path}:5"]
    assert [entry.source for entry in bad] == sources
    assert {entry.reason for entry in bad} == {"bad_row"}
    assert [entry.dialogue_id for entry in bad] == [None, None, "3", "3", "3", "3", None]


def test_ids_may_start_again_in_every_file_of_a_folder(tmp_path: Path) -> None:
    for name in ("a.json", "b/a.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps([{"id": "1", "turns": [{"role": "user", "text": name}]}]))
    items, bad = read(tmp_path)
    assert bad == []
    assert [(item.dialogue_id, item.utterance_id) for item in items] == [("a/1", "d/a/1/0"), ("b/a/1", "d/b/a/1/0")]


def test_a_broken_file_of_a_folder_costs_itself_only(tmp_path: Path) -> None:
    record = json.dumps({"id": "1", "turns": [{"role": "user", "text": "x"}]})
    (tmp_path / "a.json").write_text(f'[{record}, {{"id"')
    (tmp_path / "b.json").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "c.json")
    os.mkfifo(tmp_path / "d.jsonl")
    (tmp_path / "e.json").write_text(f"[{record}]")
    items, bad = read(tmp_path)
    assert [item.utterance_id for item in items] == ["d/a/1/0", "d/e/1/0"]
    assert [(Path(entry.source).name, entry.reason) for entry in bad] == [
        ("a.json", "corrupt"),
        ("b.json", "missing"),
        ("c.json", "missing"),
        ("d.jsonl", "missing"),
    ]


def test_what_is_no_dialogue_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no \.json"):
        read(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "absent.json")
    (tmp_path / "d.json").write_text('[{"id": 1}')
    with pytest.raises(UserError, match="not valid JSON"):
        read(tmp_path / "d.json")


def dialogue(tmp_path: Path, *turns: Any, **record: Any) -> tuple[list[Item], list[BadItem]]:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"id": "q", "conversations": turns, **record}]))
    return read(path)


HUMAN, GPT = {"from": "human", "value": "<audio>"}, {"from": "gpt", "value": "Yes."}


@pytest.mark.parametrize("turns", [[], [{"from": "system", "value": "Be brief."}]])
def test_a_dialogue_without_a_turn_is_a_reject(tmp_path: Path, turns: list[Any]) -> None:
    items, bad = dialogue(tmp_path, *turns)
    assert items == []
    assert [(entry.reason, entry.message) for entry in bad] == [
        ("bad_row", "the dialogue has no turn of a user or an assistant")
    ]


def test_audio_of_the_dialogue_belongs_to_the_marked_turns(tmp_path: Path) -> None:
    items, bad = dialogue(tmp_path, HUMAN, GPT, audio="x.wav")
    assert bad == []
    assert [(item.uri, item.text) for item in items] == [(str(tmp_path / "x.wav"), None), (None, "Yes.")]
    items, _ = dialogue(
        tmp_path, HUMAN, GPT, {"from": "human", "value": "<|AUDIO|>"}, audio=["x.wav", {"path": "y.wav"}]
    )
    assert [item.uri and Path(item.uri).name for item in items] == ["x.wav", None, "y.wav"]


def test_audio_of_the_dialogue_is_cut_where_every_turn_states_its_times(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "text": "a", "start": 0, "end": 1.5},
        {"role": "bot", "text": "b", "start": 1.5, "end": 4},
    ]
    items, bad = dialogue(tmp_path, {"role": "system", "text": "s"}, *turns, audio="x.wav")
    assert bad == []
    assert {item.uri for item in items} == {str(tmp_path / "x.wav")}
    assert [(item.offset_samples, item.num_samples) for item in items] == [(0, 24_000), (24_000, 40_000)]


@pytest.mark.parametrize(
    "turns",
    [
        [{"from": "human", "value": "What?"}, GPT],
        [HUMAN, HUMAN],
        [{"from": "human", "value": "What?", "start": 1}, GPT],
    ],
)
def test_audio_of_the_dialogue_that_belongs_to_no_turn_is_a_reject(tmp_path: Path, turns: list[Any]) -> None:
    items, bad = dialogue(tmp_path, *turns, audio="x.wav")
    assert items == []
    assert ["'x.wav' belongs to no turn" in entry.message for entry in bad] == [True]


def test_an_instruction_beside_the_mark_is_no_transcript(tmp_path: Path) -> None:
    items, bad = dialogue(tmp_path, {"from": "human", "value": "<audio>\nTranscribe."}, GPT, audio="x.wav")
    assert items == []
    assert "text beside `<audio>`" in bad[0].message


def test_audio_of_the_dialogue_is_not_needed_where_turns_have_their_own(tmp_path: Path) -> None:
    items, bad = dialogue(tmp_path, HUMAN | {"audio": "a.wav"}, GPT | {"audio": "b.wav"}, audio="whole.wav")
    assert bad == []
    assert [(item.uri and Path(item.uri).name, item.text) for item in items] == [("a.wav", None), ("b.wav", "Yes.")]


def test_times_of_turns_with_bad_paths_stop_nothing(tmp_path: Path) -> None:
    spoken = GPT | {"start": 1.0}
    items, bad = dialogue(tmp_path, spoken | {"audio": "nowhere://a.wav"}, spoken | {"audio": ["a"]}, GPT)
    assert [item.turn for item in items] == [2]
    assert [entry.utterance_id for entry in bad] == ["d/q/0", "d/q/1"]


def test_a_mark_without_audio_is_a_reject(tmp_path: Path) -> None:
    items, bad = dialogue(tmp_path, HUMAN, GPT)
    assert [item.turn for item in items] == [1]
    assert "neither text" in bad[0].message


def test_turns_are_segments_unless_their_audio_is_cut_already(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(32_000, np.float32), 16_000)
    turn = {"from": "human", "value": "a", "audio": "a.wav"}
    assert dialogue(tmp_path, turn | {"start": 0.5, "end": 1})[0][0].num_samples == 8_000
    assert dialogue(tmp_path, turn | {"start": 7, "end": 9})[0][0] == dialogue(tmp_path, turn)[0][0]


def test_fields_of_turns_that_are_not_understood_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'audio_channel'"):
        dialogue(tmp_path, GPT | {"audio": "a.wav", "audio_channel": 1})
    with pytest.raises(UserError, match="'time'"):
        dialogue(tmp_path, GPT, GPT | {"audio": "a.wav", "time": 1.5})
    with pytest.raises(UserError, match="'sentence'"):
        dialogue(tmp_path, {"from": "human", "audio": "a.wav", "sentence": "x"})
    items, bad = read(tmp_path / "data.json", ignore_columns=["sentence"])
    assert bad == []
    assert [item.text for item in items] == [None]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cc_license", "CC0"),
        ("usage_rights", ["none"]),
        ("licenses", [{"name": "CC0"}]),
        ("copyright_notice", "(c) Ann"),
        ("speaker_consent", False),
    ],
)
def test_fields_of_dialogues_that_look_like_rights_are_an_error(tmp_path: Path, field: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"data.json: column '{field}' looks like the "):
        dialogue(tmp_path, GPT, **{field: value})
    items, bad = read(tmp_path / "data.json", ignore_columns=[field])
    assert (len(items), bad) == (1, [])


@pytest.mark.parametrize(
    "fields",
    [
        {"cc_license": ""},
        {"cc_license": None},
        {"licenses": []},
        {"cc_license": "CC0", "licence": "CC0"},
        {"license_plate": "A 1"},
        {"duration": 3.0, "title": "words"},
    ],
)
def test_other_fields_of_dialogues_stop_nothing(tmp_path: Path, fields: dict[str, Any]) -> None:
    items, bad = dialogue(tmp_path, GPT, **fields)
    assert ([item.licence for item in items], bad) == ([fields.get("licence")], [])


def test_names_of_audio_and_text_in_other_spellings(tmp_path: Path) -> None:
    items, bad = dialogue(tmp_path, {"from": "human", "Text": "Hi.", "audioPath": "a.wav"})
    assert bad == []
    assert [(item.text, item.uri) for item in items] == [("Hi.", str(tmp_path / "a.wav"))]


def test_nan_is_a_missing_value(tmp_path: Path) -> None:
    nan = float("nan")
    items, bad = dialogue(
        tmp_path, {"from": "human", "value": nan, "audio": "a.wav", "language": nan}, GPT | {"audio": nan}
    )
    assert bad == []
    assert [(item.text, item.language, item.uri is None) for item in items] == [
        (None, None, False),
        ("Yes.", None, True),
    ]
    assert dialogue(tmp_path, {"from": "human", "value": nan, "audio": nan})[1][0].reason == "bad_row"
