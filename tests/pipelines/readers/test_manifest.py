import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.errors import UserError
from pipelines.readers import BadItem, Item
from pipelines.readers.manifest import ManifestReader


def read(path: Path, **options: Any) -> tuple[list[Item], list[BadItem]]:
    entries = list(ManifestReader(path=str(path), dataset="d", **options).read())
    items = [entry for entry in entries if isinstance(entry, Item)]
    return items, [entry for entry in entries if isinstance(entry, BadItem)]


def test_every_field_of_a_csv(tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "a.wav").write_bytes(b"12345")
    path = tmp_path / "train.csv"
    path.write_text(
        "utt_id,wav,sentence,offset,duration,client_id,locale,split,task,dataset,dialogue_id,turn,role,other\n"
        "u1,wav/a.wav,Hello.,0.5,1.25,s1,en,dev,sqa,e,q7,1,gpt,x\n"
    )
    items, bad = read(path)
    assert bad == []
    assert items == [
        Item(
            utterance_id="e/u1",
            dataset="e",
            uri=str(tmp_path / "wav" / "a.wav"),
            size=5,
            offset_samples=8_000,
            num_samples=20_000,
            split="dev",
            task="sqa",
            language="en",
            speaker_id="s1",
            text="Hello.",
            dialogue_id="q7",
            turn=1,
            role="assistant",
        )
    ]


def test_jsonl_with_defaults_and_segments(tmp_path: Path) -> None:
    records = [
        {"audio_filepath": "/data/a.wav", "text": "x", "duration": 3},
        {"audio": {"path": "b.wav"}, "start": 1, "end": "2.5"},
        {"path": "memory://bucket/c.wav", "id": 7, "offset": None},
        {"dialogue_id": "q", "turn": 0, "role": "user", "text": "written"},
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n\n")
    items, bad = read(path, audio_dir="/audio", language="en", split="train")
    assert bad == []
    names = ["d//data/a.wav#0+48000", "d/b.wav#16000+24000", "d/7", "d/q/0"]
    assert [item.utterance_id for item in items] == names
    assert [item.uri for item in items] == ["/data/a.wav", "/audio/b.wav", "memory:///bucket/c.wav", None]
    assert [(item.offset_samples, item.num_samples) for item in items[:3]] == [
        (0, 48_000),
        (16_000, 24_000),
        (0, None),
    ]
    assert {(item.language, item.split) for item in items} == {("en", "train")}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "not valid JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not valid JSON"),
        ('{"text": "x"}', "no audio"),
        ('{"id": "u", "text": "x"}', "no audio"),
        ('{"audio": ""}', "no audio"),
        ('{"audio": 3.5, "text": ["x"]}', "'text' is not a text"),
        ('{"audio": {"bytes": "x"}}', "no audio"),
        ('{"audio": "a\\u0000b"}', "NUL"),
        ('{"audio": "a", "text": "\\ud800"}', "lone surrogate"),
        ('{"audio": "a", "offset": -1}', "'offset'"),
        ('{"audio": "a", "offset": "one"}', "'offset'"),
        ('{"audio": "a", "duration": NaN}', "'duration'"),
        ('{"audio": "a", "duration": 1e300}', "'duration'"),
        ('{"audio": "a", "duration": 0}', "empty"),
        ('{"audio": "a", "start": 2, "end": 1}', "empty"),
        ('{"audio": "a", "offset": true}', "'offset'"),
        ('{"audio": "a", "turn": -1}', "'turn'"),
        ('{"audio": "a", "role": "narrator"}', "narrator"),
        ('{"audio": "a", "task": "st"}', "'task'"),
        ('{"audio": "a", "dataset": "a/b"}', "'dataset'"),
    ],
)
def test_a_bad_row_says_why_and_the_rest_goes_on(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(f'{{"audio": "first.wav"}}\n{line}\n{{"audio": "last.wav"}}\n')
    items, bad = read(path)
    assert [item.utterance_id for item in items] == ["d/first.wav", "d/last.wav"]
    (entry,) = bad
    assert (entry.source, entry.reason) == (f"{path}:2", "bad_row")
    assert message in entry.message


def test_a_bad_table_row_keeps_its_line_number(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    path.write_bytes(b"path\ttext\r\na.wav\tx\r\nb.wav\r\n\xff\ty\r\nc.wav\tz\r\n")
    items, bad = read(path)
    assert [item.text for item in items] == ["x", "z"]
    assert [entry.source for entry in bad] == [f"{path}:3", f"{path}:4"]
    assert "1 columns" in bad[0].message
    assert "UTF-8" in bad[1].message


def test_whole_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("name,text\na,b\n")
    with pytest.raises(UserError, match=r"name, text.*audio_filepath"):
        read(path)
    path.write_text("")
    with pytest.raises(UserError, match="empty"):
        read(path)
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "absent.csv")
    with pytest.raises(UserError, match="manifest must be a"):
        read(tmp_path / "m.xlsx")


def test_rows_of_a_dialogue_are_for_dialogues_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("path,dialogue_id,task\na,q,\nb,q,tts\nc,,\n")
    assert [item.task for item in read(path)[0]] == ["sqa", "tts", "asr"]
    assert [item.task for item in read(path, task="asr")[0]] == ["asr", "tts", "asr"]


def test_a_bad_row_is_told_with_its_dialogue(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("path,dialogue_id,dataset,role\na,q,,narrator\nb,q,e,narrator\nc,q,e/f,user\nd,,,narrator\ne\n")
    items, bad = read(path)
    assert items == []
    assert [(entry.dataset, entry.dialogue_id) for entry in bad] == [
        ("d", "q"),
        ("e", "q"),
        ("d", None),
        ("d", None),
        ("d", None),
    ]


def test_nan_is_missing_in_every_field_that_is_not_a_time(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    nothing = "NaN"
    names = ("id", "text", "sentence", "speaker", "language", "split", "task", "dataset", "dialogue_id", "turn", "role")
    path.write_text("{" + "".join(f'"{name}": {nothing}, ' for name in names) + '"audio": "a.wav"}\n{"audio": NaN}\n')
    items, bad = read(path, language="en")
    assert items == [Item(utterance_id="d/a.wav", dataset="d", uri=str(tmp_path / "a.wav"), language="en")]
    assert [entry.message for entry in bad] == [
        "no audio: one of the fields audio, path, wav, audio_path, audio_filepath, file must hold a path"
    ]
    path.write_text('{"audio": {"path": NaN}}\n{"audio": "a.wav", "text": Infinity}\n')
    items, bad = read(path)
    assert items == []
    assert "no audio" in bad[0].message
    assert "'text' is not a text" in bad[1].message


def test_columns_that_the_config_names(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("clip,verse,key,text,time\na.wav,Hi.,7,other,9\n")
    with pytest.raises(UserError, match="audio_column"):
        read(path)
    with pytest.raises(UserError, match="'time'"):
        read(path, audio_column="clip")
    columns = {"audio_column": "clip", "text_column": "verse", "id_column": "key", "ignore_columns": ("time",)}
    items, bad = read(path, **columns)
    assert bad == []
    assert items == [Item(utterance_id="d/7", dataset="d", uri=str(tmp_path / "a.wav"), text="Hi.")]
    for name in ("audio_column", "text_column", "id_column"):
        with pytest.raises(UserError, match="absent"):
            read(path, **columns | {name: "absent"})
    (tmp_path / "m.jsonl").write_text('{"clip": "a.wav", "time": 9}\n{"clip": "b.wav"}\n')
    with pytest.raises(UserError, match="no column 'verse'; there are clip"):
        read(tmp_path / "m.jsonl", audio_column="clip", text_column="verse", ignore_columns=("time",))


def test_a_text_under_another_name_is_an_error_that_says_how_to_name_it(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    path.write_text("path\tsentence_text\na.wav\tHello.\n")
    with pytest.raises(UserError, match=r"`text_column: sentence_text`, or `ignore_columns: \[sentence_text\]`"):
        read(path)
    assert read(path, text_column="sentence_text")[0][0].text == "Hello."
    assert read(path, ignore_columns=("sentence_text",))[0][0].text is None


def test_names_of_audio_and_text_in_other_spellings(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("Audio Path,Sentence,ID\na.wav,Hello.,7\n")
    items, bad = read(path)
    assert bad == []
    assert items == [Item(utterance_id="d/a.wav", dataset="d", uri=str(tmp_path / "a.wav"), text="Hello.")]


def test_rows_cut_already_keep_their_keys(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(32_000, np.float32), 16_000)
    path = tmp_path / "m.csv"
    path.write_text("path,begin_time,end_time\na.wav,100.0,102.0\n")
    items, _ = read(path)
    path.write_text("path\na.wav\n")
    assert [item.key() for item in items] == [item.key() for item in read(path)[0]]


def test_an_array_of_objects_is_a_manifest_too(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(' \n[{"audio": "a.wav"}, 7, {"text": "x"},\n {"audio": "b.wav"}]')
    items, bad = read(path)
    assert [item.utterance_id for item in items] == ["d/a.wav", "d/b.wav"]
    assert [entry.source for entry in bad] == [f"{path}[1]", f"{path}[2]"]
    path.write_bytes(b'{"audio": "a.wav"}\n{"audio": "\xff.wav"}\n[1]\n')
    items, bad = read(path)
    assert [item.utterance_id for item in items] == ["d/a.wav"]
    assert [entry.source for entry in bad] == [f"{path}:2", f"{path}:3"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{\n "data": [\n  {"audio": "a.wav"}]}', "one JSON object over several lines"),
        ('{"data": [\n  {"audio": "a.wav"}]}', "one JSON object over several lines"),
        ('[{"audio": "a.wav"}, {"audio"', "not valid JSON"),
        ('{"id": "c", "recording": {"id": "r"}, "start": 0}', "kind `lhotse`"),
        ('{"id": "r", "sources": [{"type": "file"}]}', "kind `lhotse`"),
    ],
)
def test_json_of_another_shape_is_an_error_that_says_so(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read(path)


def test_ljspeechs_metadata_is_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text("LJ001-0001|Printing, in|Printing, in\n")
    with pytest.raises(UserError, match="kind `ljspeech`"):
        read(path)


def test_times_of_rows_with_bad_paths_stop_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    rows = [{"audio": "nowhere://a.wav", "start_time": 1}, {"audio": 7, "start_time": 1}, {"audio": ["a"], "end_ms": 5}]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, {"audio": "a.wav", "start_time": 1}]))
    items, bad = read(path)
    assert [item.utterance_id for item in items] == ["d/7#16000+", "d/a.wav#16000+"]
    assert [entry.source for entry in bad] == [f"{path}:1", f"{path}:3"]


def test_packed_manifests_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(b'{"audio": "a.wav"}\n{"audio": "b.wav"}'))
    (tmp_path / "m.tsv.gz").write_bytes(gzip.compress(b"path\ttext\na.wav\tx\nb.wav\ty\n"))
    for name in ("m.jsonl.gz", "m.tsv.gz"):
        assert [item.utterance_id for item in read(tmp_path / name)[0]] == ["d/a.wav", "d/b.wav"]
