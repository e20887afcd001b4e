"""`echox encode`: JSON lines, and what happens to unusable files."""

import json
from pathlib import Path

from tests.flows.conftest import Echox


def test_encode_prints_a_json_line_an_audio(store: Path, config: Path, echox: Echox) -> None:
    paths = [str(config.parent / "read" / name) for name in ("0.wav", "1.wav")]
    shown = echox("encode", *paths, "--store", store)
    assert shown.returncode == 0, shown.stderr
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [line["audio"] for line in lines] == paths
    assert all(sum(line["durations"]) == line["num_frames"] == 99 for line in lines)
    assert all(len(line["words"]) == len(line["word_ids"]) < len(line["units"]) for line in lines)


def test_encode_goes_on_after_a_bad_file_and_ends_with_2(store: Path, config: Path, echox: Echox) -> None:
    good, bad = config.parent / "read" / "0.wav", config.parent / "talk" / "text.wav"
    shown = echox("encode", good, bad, "absent.wav", good, "--store", store)
    assert shown.returncode == 2
    assert [json.loads(line)["audio"] for line in shown.stdout.splitlines()] == [str(good), str(good)]
    first, second = shown.stderr.splitlines()
    assert first.startswith(f"error: {bad}: ")
    assert "absent.wav" in second
