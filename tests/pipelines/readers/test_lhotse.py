import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.readers import BadItem, Item
from pipelines.readers.lhotse import LhotseReader

MONO = {
    "id": "mono",
    "sources": [{"type": "file", "channels": [0], "source": "mono.wav"}],
    "sampling_rate": 8000,
    "num_samples": 32000,
    "duration": 4.0,
    "channel_ids": [0],
}
STEREO = MONO | {"id": "stereo", "sources": [{"type": "file", "channels": [0, 1], "source": "stereo.wav"}]}
APART = MONO | {"id": "apart", "sources": [{"type": "url", "channels": [n], "source": f"{n}.wav"} for n in (0, 1)]}


def supervision(name: str, start: float, duration: float, **values: Any) -> dict[str, Any]:
    return {"id": name, "recording_id": "mono", "start": start, "duration": duration, "channel": 0, **values}


def cut(*supervisions: Any, recording: Any = MONO, **values: Any) -> dict[str, Any]:
    return {
        "id": "c",
        "start": 0.5,
        "duration": 3.0,
        "channel": 0,
        "supervisions": supervisions,
        "recording": recording,
        "type": "MonoCut",
        **values,
    }


def read(tmp_path: Path, *records: Any, **options: Any) -> tuple[list[Item], list[BadItem]]:
    path = tmp_path / "cuts.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(json.dumps(record) for record in records).encode()))
    entries = list(LhotseReader.model_validate({"path": str(path), "dataset": "d", **options}).read())
    items = [entry for entry in entries if isinstance(entry, Item)]
    return items, [entry for entry in entries if isinstance(entry, BadItem)]


def test_supervisions_of_a_cut_are_utterances(tmp_path: Path) -> None:
    first = supervision("u1", 0.25, 1.0, text="one", language="de", speaker="A")
    items, bad = read(tmp_path, cut(first, supervision("u2", -0.5, 1.5)), language="en")
    assert bad == []
    assert items[0] == Item(
        utterance_id="d/u1",
        dataset="d",
        uri=str(tmp_path / "mono.wav"),
        offset_samples=12_000,
        num_samples=16_000,
        language="de",
        speaker_id="A",
        text="one",
    )
    assert (items[1].offset_samples, items[1].num_samples, items[1].language) == (0, 24_000, "en")


def test_cuts_and_recordings_without_supervisions_are_utterances_without_text(tmp_path: Path) -> None:
    items, bad = read(tmp_path, cut(), MONO, STEREO, cut(recording=STEREO, channel=[0, 1]), audio_dir="/audio")
    assert bad == []
    assert [item.uri for item in items] == [f"/audio/{name}.wav" for name in ("mono", "mono", "stereo", "stereo")]
    assert [item.utterance_id for item in items] == ["d/c", "d/mono", "d/stereo", "d/c"]
    assert [(item.offset_samples, item.num_samples) for item in items[:2]] == [(8_000, 48_000), (0, None)]


def test_a_channel_in_a_file_of_its_own_is_read(tmp_path: Path) -> None:
    items, bad = read(tmp_path, cut(supervision("u", 0, 1, channel=1), recording=APART, channel=[0, 1]))
    assert bad == []
    assert [item.uri for item in items] == [str(tmp_path / "1.wav")]


def test_a_channel_of_a_file_of_several_is_read(tmp_path: Path) -> None:
    spoken = cut(supervision("u", 0, 1, channel=1), recording=STEREO, channel=[0, 1])
    items, bad = read(tmp_path, spoken, cut(recording=STEREO, channel=0), cut(recording=STEREO, channel=[0, 1]), STEREO)
    assert bad == []
    assert [item.channel for item in items] == [1, 0, None, None]
    assert {item.uri for item in items} == {str(tmp_path / "stereo.wav")}


def test_resampling_changes_no_times(tmp_path: Path) -> None:
    transforms = [{"name": "Resample", "kwargs": {"source_sampling_rate": 8000, "target_sampling_rate": 16000}}]
    items, bad = read(tmp_path, cut(recording=MONO | {"transforms": transforms, "sampling_rate": 16000}))
    assert (len(items), bad) == (1, [])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (cut(recording=STEREO, channel=[0, 1, 2]), "one of them, or all, can be read"),
        (cut(recording=STEREO, channel=5), "one of them, or all, can be read"),
        (cut(recording=APART, channel=[0, 1]), "0 sources hold"),
        (APART, "0 sources hold"),
        ({"id": "c", "tracks": [], "type": "MixedCut"}, "mixed"),
        (cut(type="PaddingCut"), "mixed and padding"),
        (cut(recording=None), "no recording"),
        (cut(recording=MONO | {"transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}), "transforms"),
        (cut(recording=MONO | {"sources": [{"type": "command", "channels": [0], "source": "rm"}]}), "'command'"),
        (cut(recording=MONO | {"sources": [{"type": "file", "channels": [0]}]}), "'source'"),
        (cut(recording=MONO | {"sources": []}), "0 sources"),
        (cut(recording=MONO | {"sources": "mono.wav"}), "not a list of objects"),
        (cut(supervision("u", -0.75, 1)), "before its recording"),
        (cut(supervision("u", 0, 0)), "empty"),
        (cut(start="soon"), "'start'"),
        (cut(id=None), "'id'"),
        (cut("u"), "not a list of objects"),
        ([1], "not a JSON object"),
    ],
)
def test_what_is_no_utterance_is_told_and_the_rest_goes_on(tmp_path: Path, record: Any, message: str) -> None:
    items, bad = read(tmp_path, MONO, record, MONO)
    assert len(items) == 2
    assert [(entry.source, entry.reason) for entry in bad] == [(f"{tmp_path / 'cuts.jsonl.gz'}:2", "bad_row")]
    assert message in bad[0].message


def test_supervisions_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lhotse cut simple"):
        read(tmp_path, supervision("u", 0, 1))


def test_a_damaged_gzip_is_an_error(tmp_path: Path) -> None:
    read(tmp_path, *(cut(id=f"c{number}") for number in range(2_000)))
    path = tmp_path / "cuts.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="damaged gzip"):
        list(LhotseReader(path=str(path), dataset="d").read())
    path.write_bytes(b"x")
    with pytest.raises(UserError, match="damaged gzip"):
        list(LhotseReader(path=str(path), dataset="d").read())


@pytest.mark.parametrize("field", ["cc_license", "usage_rights", "licenses", "copyright_notice", "speaker_consent"])
@pytest.mark.parametrize("place", ["cut", "supervision", "recording"])
def test_fields_of_custom_that_look_like_rights_are_an_error(tmp_path: Path, field: str, place: str) -> None:
    """In cuts, in their supervisions, and in recordings that are listed themselves."""
    custom = {"custom": {field: "CC0", "snr": 20.0, "license_plate": "A 1"}}
    record = {
        "cut": cut(supervision("s", 0.0, 1.0), **custom),
        "supervision": cut(supervision("s", 0.0, 1.0, **custom)),
        "recording": MONO | custom,
    }[place]
    with pytest.raises(UserError, match=f"column '{field}' looks like the "):
        read(tmp_path, record)
    items, bad = read(tmp_path, record, ignore_columns=[field])
    assert (len(items), bad) == (1, [])


@pytest.mark.parametrize("custom", [None, {}, [], "CC0", {"cc_license": None}, {"cc_license": "CC0", "license": "CC0"}])
def test_other_values_of_custom_stop_nothing(tmp_path: Path, custom: Any) -> None:
    items, bad = read(tmp_path, cut(supervision("s", 0.0, 1.0, custom=custom), custom=custom))
    assert (len(items), bad) == (1, [])
