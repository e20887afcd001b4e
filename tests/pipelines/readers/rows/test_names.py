from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.readers.rows import fields
from pipelines.readers.rows.names import ColumnCheck, Time, spelled, time_columns, time_of

TEXT = ("text", "sentence")


@pytest.mark.parametrize(
    ("name", "part", "unit"),
    [
        ("offset", "start", "seconds"),
        ("start_time", "start", "seconds"),
        ("begin_time", "start", "seconds"),
        ("Start", "start", "seconds"),
        ("startTime", "start", "seconds"),
        ("segment_start_time", "start", "seconds"),
        ("START_SEC", "start", "seconds"),
        ("start_ts", "start", "seconds"),
        ("offset_ms", "start", "milliseconds"),
        ("start_sample", "start", "samples"),
        ("sample_offset", "start", "samples"),
        ("frame_offset", "start", "samples"),
        ("End", "end", "seconds"),
        ("stop", "end", "seconds"),
        ("xmin", "start", "seconds"),
        ("tmax", "end", "seconds"),
        ("end_offset", "end", "seconds"),
        ("endMs", "end", "milliseconds"),
        ("end_sample", "end", "samples"),
        ("dur", "duration", "seconds"),
        ("audio_duration", "duration", "seconds"),
        ("duration[ms]", "duration", "milliseconds"),
        ("num_samples", "duration", "samples"),
    ],
)
def test_common_names_of_times_are_known(name: str, part: str, unit: str) -> None:
    time = time_of(name)
    assert isinstance(time, Time)
    assert (time.part, time.unit) == (part, unit)


@pytest.mark.parametrize("name", ["text", "path", "sentence_id", "n_frames", "duration_us", "start_end", "segment"])
def test_other_names_are_not_taken_for_times(name: str) -> None:
    assert time_of(name) is None


def test_num_frames_counts_only_beside_torchaudios_frame_offset() -> None:
    assert time_columns(["num_frames", "text"]) == {}
    assert set(time_columns(["num_frames", "frame_offset"])) == {"num_frames", "frame_offset"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_frames", "120"),
        ("num_frames", 120),
        ("duration_us", 1_200_000),
        ("start_frame", 3),
        ("time", "0.5"),
        ("timestamp", "00:01:02.5"),
        ("timestamps", [0.5, 1.5]),
        ("total_duration", 12.5),
        ("length_sec", 12.5),
        ("from_ms", 100),
        ("channel_id", 0),
        ("channel_no", "1"),
        ("ch", 1),
        ("ch", "A"),
        ("audio_channel", "left"),
        ("speaker_ch", "B"),
        ("channels", [0, 1]),
        ("sentence_text", "hello"),
        ("tgt_text", "hello"),
        ("raw_transcript", "hello"),
        ("transcript_path", "a.txt"),
        ("Utterance", "hello"),
    ],
)
def test_what_looks_like_a_time_a_channel_or_a_text_is_an_error(name: str, value: Any) -> None:
    check = ColumnCheck("m.csv", TEXT, "`text_column: {}`")
    with pytest.raises(UserError, match=rf"m\.csv: column '{name}' looks.*`ignore_columns: \[{name}\]`"):
        check({"path": "a.wav", name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sentence_id", "7f"),
        ("sentence_domain", "news"),
        ("segment", "Benchmark"),
        ("up_votes", "2"),
        ("channel", "TED talks"),
        ("num_channels", 2),
        ("channels", "1"),
        ("created_time", "1618000000"),
        ("sample_rate", 16_000),
        ("time", ""),
        ("time", float("nan")),
        ("timestamp", "2024-05-01 12:00"),
        ("words", [{"word": "a", "start": 0.1}]),
        ("duration", 1.5),
        ("length", 12),
    ],
)
def test_other_columns_pass(name: str, value: Any) -> None:
    ColumnCheck("m.csv", TEXT)({"path": "a.wav", name: value})


PUBLIC = {
    "Common Voice": {
        "client_id": "c",
        "path": "a.mp3",
        "sentence_id": "5",
        "sentence": "Hi.",
        "sentence_domain": "news",
    }
    | {"up_votes": "2", "age": "", "accents": "", "variant": "", "locale": "en", "segment": "Benchmark"},
    "FLEURS": {"id": 1, "num_samples": 32_000, "path": "a.wav", "transcription": "hi", "raw_transcription": "Hi."}
    | {"gender": 1, "lang_id": 19, "language": "English", "lang_group_id": 3},
    "GigaSpeech": {"segment_id": "s", "speaker": "N/A", "text": "HI", "begin_time": 159.0, "end_time": 161.4}
    | {"audio_id": "YOU1", "title": "x", "url": "u", "source": 2, "category": 24, "original_full_path": "a.opus"},
    "Multilingual LibriSpeech": {"original_path": "u", "begin_time": 1.0, "end_time": 9.2, "transcript": "hi"}
    | {"audio_duration": 8.2, "speaker_id": "1", "chapter_id": "2", "file": "a.flac", "id": "1_2_3"},
    "NeMo": {"audio_filepath": "a.wav", "duration": 1.5, "offset": 0.0, "text": "hi", "pred_text": "hi", "lang": "en"},
    "People's Speech": {"id": "a", "duration_ms": 14_920, "text": "hi"},
    "VoxPopuli": {"audio_id": "a", "language": 0, "raw_text": "Hi.", "normalized_text": "hi", "gender": "female"}
    | {"speaker_id": "1", "is_gold_transcript": True, "accent": "None"},
}


@pytest.mark.parametrize("record", PUBLIC.values(), ids=PUBLIC.keys())
def test_columns_of_public_datasets_pass(record: dict[str, Any]) -> None:
    ColumnCheck("m.csv", fields.TEXT)(record)


@pytest.mark.parametrize(
    ("name", "fact", "value"),
    [
        ("cc_license", "licence", "CC-BY-4.0"),
        ("usage_rights", "licence", "research only"),
        ("Audio License", "licence", "CC0"),
        ("dataLicence", "licence", ["CC0"]),
        ("licenses", "licence", {"name": "CC0"}),
        ("license_code", "licence", 4),
        ("rights_statement", "licence", "mine"),
        ("copyright_notice", "attribution", "(c) A"),
        ("attribution_text", "attribution", "by A"),
        ("speaker_consent", "consent", False),
        ("consent_form", "consent", "a.pdf"),
    ],
)
def test_a_right_under_another_name_is_an_error(name: str, fact: str, value: Any) -> None:
    row = {"path": "a.wav", "text": "hi"}
    with pytest.raises(UserError, match=rf"column '{name}' looks like the {fact}, .*`ignore_columns: \[{name}\]`"):
        ColumnCheck("m.csv", TEXT)({**row, name: value})
    ColumnCheck("m.csv", TEXT)({**row, name: value, fact: ""})
    for nothing in (None, "", "  ", [], float("nan")):
        ColumnCheck("m.csv", TEXT)({**row, name: nothing})


@pytest.mark.parametrize(
    "name",
    [
        *("license", "License Name", "rights", "license_url", "copyright", "consent_id"),  # which are read
        *("license_plate", "driver_license", "human_rights", "copyright_year"),
        *("licensee", "terms", "rights_holder", "credit_score"),
    ],
)
def test_what_is_no_right_or_a_known_one_is_no_error(name: str) -> None:
    ColumnCheck("m.csv", TEXT)({"path": "a.wav", "text": "hi", name: "B-X 17"})


def test_a_length_without_a_unit_matters_beside_a_start_only() -> None:
    with pytest.raises(UserError, match="'length'"):
        ColumnCheck("m.csv", TEXT)({"start": "1", "length": "2"})
    with pytest.raises(UserError, match="'len_s'"):
        ColumnCheck("m.csv", TEXT)({"start": "1", "len_s": "2"})
    ColumnCheck("m.csv", TEXT)({"start": "1", "end": "2", "length": "2"})


def test_a_second_text_is_no_error() -> None:
    ColumnCheck("m.csv", TEXT)({"text": "", "raw_text": "Hello."})
    ColumnCheck("m.csv", TEXT)({"Text": "hello", "raw_text": "Hello."})


def test_a_column_is_noticed_in_later_records_too() -> None:
    check = ColumnCheck("m.csv", TEXT)
    check({"text": "x", "time": ""})
    with pytest.raises(UserError, match="'time'"):
        check({"text": "x", "time": "3"})


def test_a_column_that_the_config_names_must_occur() -> None:
    check = ColumnCheck("m.csv", ("verse",), named=("verse", None))
    check({"a": 1})
    with pytest.raises(UserError, match="no column 'verse'; there are a"):
        check.finish()
    check({"verse": "x"})
    check.finish()


def test_spelling_matters_only_if_no_name_is_exact() -> None:
    assert spelled(TEXT, ["Text", "sentence"]) == ("sentence",)
    assert spelled(TEXT, ["Sentence", "TEXT", "x"]) == ("TEXT", "Sentence")
    assert spelled(TEXT, ["texts"]) == ()
