"""Channels from the source to units and examples."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.build.commit import Built
from pipelines.build.verify import verify
from storage.store import Store
from storage.tables import read_table
from storage.versions import Version

RATE = 16_000
RunBuild = Callable[..., Built]


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Three calls with a low voice on the left and a high one on the right; the fourth has its right side reversed."""
    folder = tmp_path / "calls"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(4):
        seconds = np.arange(4 * RATE) / RATE
        beat = 1 + np.sin(2 * np.pi * random.uniform(1, 4) * seconds)
        left, right = (0.1 * beat * np.sin(2 * np.pi * pitch * seconds) for pitch in (200 + 10 * number, 2_500))
        sound = np.stack([left, -left if number == 3 else right], axis=1) + random.normal(0, 1e-4, (len(seconds), 2))
        soundfile.write(folder / f"{number}.flac", sound, RATE)
    return folder


def rows(version: Version, table: str) -> list[dict[str, Any]]:
    store = Store.open(version.store)
    return [row for file in version.files(table) for row in read_table(store, file.path).to_pylist()]


def built(config: dict[str, Any], run_build: RunBuild, **source: Any) -> Version:
    values = {**config, "sources": [{"dataset": "calls", **source}], "max_reject_ratio": 1.0}
    version = run_build(values).version
    assert list(verify(Store.open(version.store), version)) == []
    return version


def test_rows_with_channels(config: dict[str, Any], calls: Path, run_build: RunBuild) -> None:
    with (calls / "calls.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("audio", "channel", "text"))
        writer.writerows((f"{n}.flac", side, f"{side} {n}") for n in range(3) for side in ("left", "right"))
        writer.writerow(("0.flac", 2, "nobody"))
    version = built(config, run_build, kind="manifest", path=str(calls / "calls.csv"))
    spoken = rows(version, "utterances")
    assert [(row["text"], row["channel"]) for row in spoken[:2]] == [("left 0", 0), ("right 0", 1)]
    (reject,) = rows(version, "rejects")
    assert (reject["reason"], reject["utterance_id"]) == ("no_channel", "calls/0.flac#channel2")
    units = {row["utterance_id"]: set(row["units"]) for row in rows(version, "units")}
    sides = [set.union(*(found for name, found in units.items() if name.endswith(side))) for side in ("0", "1")]
    assert not sides[0] & sides[1], "each side has its own sounds"
    pitches = {row["transcript"]: pitch(row["audio"], calls) for row in rows(version, "s2t")}
    assert all((found > 1_000) == text.startswith("right") for text, found in pitches.items())
    assert len(pitches) == 6


def pitch(flac: bytes, folder: Path) -> float:
    (folder / "example.flac").write_bytes(flac)
    sound, rate = soundfile.read(folder / "example.flac")
    (folder / "example.flac").unlink()
    return float(np.argmax(np.abs(np.fft.rfft(sound))) * rate / len(sound))


@pytest.mark.parametrize("source", [{"channel": 0}, {"channel": "each"}, {"channel": "mix"}, {}])
def test_the_channel_of_a_source(
    config: dict[str, Any], calls: Path, run_build: RunBuild, source: dict[str, Any]
) -> None:
    version = built(config, run_build, kind="folder", path=str(calls), **source)
    names = [(row["utterance_id"], row.get("channel")) for row in rows(version, "utterances")]
    if source.get("channel") == "each":
        assert names == [(f"calls/{n}.flac#channel{side}", side) for n in range(4) for side in (0, 1)]
        assert version.statistics["entries"] == 8
    else:
        channel = 0 if source == {"channel": 0} else None
        assert names == [(f"calls/{n}.flac", channel) for n in range(4)]
    rejects = [(row["utterance_id"], row["reason"]) for row in rows(version, "rejects")]
    assert rejects == ([("calls/3.flac", "antiphase")] if source.get("channel", "mix") == "mix" else [])


def test_a_channel_that_is_chosen_later_makes_new_entries(
    config: dict[str, Any], calls: Path, run_build: RunBuild
) -> None:
    first = built(config, run_build, kind="folder", path=str(calls), channel="each")
    assert run_build({**config, "sources": first.config["sources"], "max_reject_ratio": 1.0}).version == first
