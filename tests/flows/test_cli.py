"""The command as people run it: exit codes, messages, output for programs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import write_clips

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLI = (sys.executable, "-c", "from flows.cli import main; main()")
Process = subprocess.CompletedProcess[str]
Echox = Callable[..., Process]


def test_a_build_shows_what_it_made_and_ends_with_0(built: Process, config: Path) -> None:
    assert built.returncode == 0, built.stderr
    report = config.parent / "corpus" / "reports" / "00000001.html"
    last = built.stderr.strip().splitlines()[-1]
    assert last == f"version 1 of {config.parent / 'corpus'}; entries: 11 new, 0 kept; report: {report}"
    assert report.read_text("utf-8").startswith("<!doctype html>")
    assert "frames/words" in built.stdout
    assert "empty_file" in built.stdout


def test_building_again_does_nothing(store: Path, config: Path, echox: Echox) -> None:
    again = echox("build", config)
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing to do: version 1 of" in again.stderr
    assert [path.name for path in (store / "manifests").iterdir()] == ["00000001.json"]


def test_inspect_for_programs(store: Path, echox: Echox) -> None:
    shown = echox("inspect", f"{store}@1", "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    facts: dict[str, Any] = json.loads(shown.stdout)
    assert (facts["version"], facts["entries"], facts["utterances"]) == (1, 11, 9)
    assert facts["examples"] == {"s2t": 6, "t2c": 3}
    assert set(facts["datasets"]) == {"read", "conversation"}
    read, talk = facts["datasets"]["read"], facts["datasets"]["conversation"]
    assert (read["hours"], talk["hours"]) == (6 * 2 / 3600, 3 * 2 / 3600)
    assert (read["utterances"], talk["utterances"]) == (6, 3)
    assert (read["rejects"], talk["rejects"]) == ({"empty_file": 1}, {"not_audio": 1})
    for part in (facts, read, talk):
        ratios = part["compression"]
        assert ratios["dedup_ratio"] > 1
        assert ratios["unit_language_ratio"] > 1
        assert ratios["total_ratio"] == pytest.approx(ratios["dedup_ratio"] * ratios["unit_language_ratio"])
    assert facts["learnt_from"] == {"version": 1, "hours": facts["hours"], "hours_added_since": 0}
    assert (facts["made_with"]["k"], facts["made_with"]["requested_vocab_size"]) == (10, 30)
    assert set(facts["lineage"]["artifacts"]) == {"quantizer", "unit_language"}


def test_inspect_and_versions_for_people(store: Path, echox: Echox) -> None:
    tables = echox("inspect", store)
    assert tables.returncode == 0
    assert max(map(len, tables.stdout.splitlines())) <= 80
    assert "conversation" in tables.stdout
    assert "afolder[1]/read" in "".join(tables.stdout.split())
    listed = echox("versions", store)
    assert listed.returncode == 0
    (row,) = (line.split() for line in listed.stdout.splitlines() if line.startswith("  1 "))
    assert row[3:6] == ["0.005", "9", "10"]


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


def test_speech_added_later_is_told_from_what_was_learnt_from(config: Path, echox: Echox, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(config.parent, tmp_path / "grown", ignore=shutil.ignore_patterns("corpus")))
    assert echox("build", folder / "build.yaml").returncode == 0
    shutil.copy(folder / "read" / "0.wav", folder / "read" / "again.wav")
    grown = echox("build", folder / "build.yaml")
    assert "; entries: 1 new, 11 kept; report: " in grown.stderr
    note = "0.001 h were added since and not learnt from (`refit: true` in the config learns anew)"
    assert note in " ".join(grown.stdout.split())
    learnt = json.loads(echox("inspect", folder / "corpus", "--json").stdout)["learnt_from"]
    assert learnt == {"version": 1, "hours": 9 * 2 / 3600, "hours_added_since": 2 / 3600}
    assert note in (folder / "corpus" / "reports" / "00000002.html").read_text("utf-8")
    refit = echox("build", folder / "build.yaml", "--set", "refit=true")
    assert "; entries: 0 new, 12 kept; report: " in refit.stderr
    assert "added since" not in refit.stdout


def test_a_missing_source_leaves_no_store(config: Path, echox: Echox, tmp_path: Path) -> None:
    result = echox("build", config, "--set", "sources[1].path=absent", "--store", tmp_path / "new")
    assert result.returncode == 2
    assert result.stderr.startswith("error: --set sources[1].path=absent: ")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("address", ["nonsense", "auto", "127.0.0.1:1"])
def test_no_ray_there_is_an_error_before_any_work(config: Path, echox: Echox, tmp_path: Path, address: str) -> None:
    result = echox("build", config, "--store", tmp_path / "new", "--ray", address)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: --ray {address}: ")
    assert "HOST:PORT" in result.stderr or "host:port" in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("step", ["fit_quantizer", "fit_unit_language", "quantize"])
def test_a_step_by_itself_tells_what_it_made(store: Path, config: Path, step: str) -> None:
    command = [sys.executable, "-m", f"pipelines.{step}", str(config)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    last = ran.stderr.splitlines()[-1]
    kind = step.removeprefix("fit_")
    made = "2 work units, 9 rows, 0 rejects" if step == "quantize" else f"{kind} in {store}/artifacts/{kind}/"
    assert last.startswith(f"{step}: {made}")
    assert last.endswith("; nothing committed")
    told = subprocess.run([*command[:-1], "--help"], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    assert "Change a field; the value is YAML" in " ".join(told.stdout.split())
    assert "Ray cluster for the large steps" in " ".join(told.stdout.split())


def test_the_version_of_the_program(echox: Echox) -> None:
    shown = echox("--version")
    assert (shown.returncode, shown.stdout) == (0, f"echox {version('echox')}\n")


def test_verify_tells_whole_from_damaged(store: Path, echox: Echox, tmp_path: Path) -> None:
    whole = echox("verify", store)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert "files whole, every row decodes back" in whole.stdout
    damaged = Path(shutil.copytree(store, tmp_path / "damaged"))
    next((damaged / "data" / "units").iterdir()).unlink()
    found = echox("verify", damaged)
    assert found.returncode == 1
    assert found.stderr.startswith("wrong: ")
    assert "problems" in found.stderr.splitlines()[-1]
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "{tmp}/absent.yaml"), "error: {tmp}/absent.yaml: cannot read the config: No such file"),
        (
            ("build", "{config}", "--set", "quantizer.clusters=5"),
            "error: --set quantizer.clusters=5: is not a field here",
        ),
        (("inspect", "{tmp}/absent"), "{tmp}/absent"),
        (("inspect", "{store}@7"), "has no version 7; it has 1"),
        (("inspect", "{store}@latest"), "@VERSION is a number: {store}@1"),
        (("versions", "{config}"), "{config}"),
        (("versions", "{tmp}"), "{tmp} has no corpus version yet"),
        (("encode", "{config}", "--store", "{store}"), "[not_audio]"),
        (("encode", "--store", "{store}"), "Missing argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_mistakes_end_with_2_and_a_message(
    arguments: tuple[str, ...], message: str, store: Path, config: Path, tmp_path: Path, echox: Echox
) -> None:
    places = {"tmp": str(tmp_path), "config": str(config), "store": str(store)}
    result = echox(*(argument.format(**places) for argument in arguments))
    assert result.returncode == 2
    assert message.format(**places) in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_server_that_does_not_answer_is_told(config: Path, echox: Echox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    result = echox("build", config)
    assert result.returncode == 2
    assert "PREFECT_API_URL http://127.0.0.1:1/api: no Prefect server answers there" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_failure_ends_with_1_and_a_traceback(store: Path) -> None:
    with Path("/dev/full").open("w") as full:  # a disk without space
        result = subprocess.run(
            [*CLI, "inspect", str(store)], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert "No space left on device" in result.stderr.splitlines()[-1]


def test_a_version_that_moved_too_far_waits_for_a_person(config: Path, tmp_path: Path, echox: Echox) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(config.parent, folder, ignore=shutil.ignore_patterns("corpus"))
    build = ("build", folder / "build.yaml")
    assert echox(*build).returncode == 0
    write_clips(folder / "read" / "more", 8, seed=2)
    moved = echox(*build, "--set", "gates.hours=0.5")
    store = folder / "corpus"
    assert moved.returncode == 3
    told = f"needs a look: hours went from 0.005 to 0.009 since version 1 (gate 50.0%); then: echox approve {store}@2"
    assert moved.stderr.strip().splitlines()[-1] == told
    assert "candidate" in echox("versions", store).stdout
    assert echox(*build).returncode == 3, "a build that finds nothing new still has a candidate"
    assert echox("approve", f"{store}@2").stdout == f"{store}@2: approved\n"
    assert echox("approve", f"{store}@2").stdout == f"{store}@2: nothing to approve\n"
    assert echox(*build).returncode == 0


def test_an_interrupted_build_says_how_to_go_on(tmp_path: Path) -> None:
    pipe = tmp_path / "build.yaml"
    os.mkfifo(pipe)
    command = [*CLI, "build", str(pipe)]
    # The pipe opens once the command reads its other end.
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, pipe.open("w"):
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; run the same command again to resume" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", ["build", "inspect", "verify", "versions", "approve", "encode"])
def test_help_shows_an_example(command: str, echox: Echox) -> None:
    result = echox(command, "--help")
    assert result.returncode == 0
    assert f"Example: echox {command} " in " ".join(result.stdout.split())


def test_the_python_of_the_corpus_page_runs(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "corpus.md").read_text("utf-8")
    read, rejects = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(read.replace("examples/sample-corpus", str(store)), "docs/corpus.md", "exec"), names)  # noqa: S102
    assert names["table"].column_names[0] == "utterance_id"
    exec(compile(rejects, "docs/corpus.md", "exec"), names)  # noqa: S102 - our own page
    out = capsys.readouterr().out
    assert "empty.wav empty_file " in out
    assert "text.wav not_audio " in out
    listed = re.search(r"`files` takes the names of the tables below: (.*?)\. The", page, re.DOTALL)
    assert listed is not None
    for name in re.findall(r"`(\w+)`", listed[1]):
        names["manifest"].files(name)
