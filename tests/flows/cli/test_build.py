"""`echox build` as people run it: exit codes, messages, reports."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.engine.ray import connected
from tests.flows.conftest import CLI, Echox, Process


def test_a_build_shows_what_it_made_and_ends_with_0(built: Process, config: Path) -> None:
    assert built.returncode == 0, built.stderr
    report = config.parent / "corpus" / "reports" / "00000001.html"
    last = built.stderr.strip().splitlines()[-1]
    assert last == f"version 1 of {config.parent / 'corpus'}; entries: 11 new, 0 kept, 2 rejected; report: {report}"
    assert report.read_text("utf-8").startswith("<!doctype html>")
    assert "frames/words" in built.stdout
    assert "empty_file" in built.stdout


def test_building_again_does_nothing(store: Path, config: Path, echox: Echox) -> None:
    again = echox("build", config)
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing to do: version 1 of" in again.stderr
    assert again.stderr.endswith("is up to date; entries: 0 new, 11 kept, 2 rejected\n")
    assert [path.name for path in (store / "manifests").iterdir()] == ["00000001.json"]


@pytest.mark.slow
def test_speech_added_later_is_not_counted_as_learnt_from(config: Path, echox: Echox, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(config.parent, tmp_path / "grown", ignore=shutil.ignore_patterns("corpus")))
    assert echox("build", folder / "build.yaml").returncode == 0
    shutil.copy(folder / "read" / "0.wav", folder / "read" / "again.wav")
    grown = echox("build", folder / "build.yaml")
    assert "version 1 -> 2 of" in grown.stderr
    assert "; entries: 1 new, 11 kept, 2 rejected; report: " in grown.stderr
    note = "0.001 h were added since and not learnt from (`refit: true` in the config fits it anew)"
    assert note in " ".join(grown.stdout.split())
    learnt = json.loads(echox("inspect", folder / "corpus", "--json").stdout)["learnt_from"]
    assert learnt == {"version": 1, "hours": 9 * 2 / 3600, "hours_added_since": 2 / 3600}
    assert note in (folder / "corpus" / "reports" / "00000002.html").read_text("utf-8")
    refit = echox("build", folder / "build.yaml", "--set", "refit=true")
    assert "; entries: 0 new, 12 kept, 2 rejected; report: " in refit.stderr
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
def test_a_build_until_a_step_reports_what_the_step_made(store: Path, config: Path, echox: Echox, step: str) -> None:
    before = sorted(store.rglob("*"))
    ran = echox("build", config, "--until", step)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    last = ran.stderr.splitlines()[-1]
    kind = step.removeprefix("fit_")
    made = "work units: 2, rows: 9, rejects: 0" if step == "quantize" else f"{kind} in {store}/artifacts/{kind}/"
    assert last.startswith(f"{step}: {made}")
    assert last.endswith("; nothing committed")
    assert sorted(store.rglob("*")) == before, "a step of a corpus that is up to date makes nothing"


def test_a_new_store_has_the_tables_until_the_step_and_no_version(config: Path, echox: Echox, tmp_path: Path) -> None:
    store = tmp_path / "new"
    ran = echox("build", config, "--until", "quantize", "--store", store)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines()[-1] == "quantize: work units: 2, rows: 9, rejects: 0; nothing committed"
    assert (store / "data" / "units").is_dir()
    assert not (store / "data" / "unit_language").exists()
    assert not (store / "manifests").exists()
    assert echox("build", config, "--store", store).returncode == 0, "the build resumes there"
    assert [path.name for path in (store / "manifests").iterdir()] == ["00000001.json"]


@pytest.mark.slow
def test_a_build_until_a_step_runs_on_a_ray_cluster(config: Path, echox: Echox, tmp_path: Path) -> None:
    with connected(None, cpus=2):
        import ray  # reads the environment that `connected` prepares

        address = ray.get_runtime_context().gcs_address
        on_ray = ("--set", "run.ray_above_seconds=0", "--ray", address)
        ran = echox("build", config, "--until", "ingest", "--store", tmp_path / "new", *on_ray)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines()[-1] == "ingest: work units: 2, rows: 9, rejects: 2; nothing committed"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--until", "quantise"),
            "error: --until quantise: no such step; did you mean `quantize`?",
        ),
        (("--until", "everything"), "error: --until everything: no such step; there are encode, fit_quantizer, "),
        (
            ("--until", "quantize", "--ray", "http://127.0.0.1:8265"),
            "error: --ray http://127.0.0.1:8265: --until does not run as a job; give HOST:PORT",
        ),
        (("--until", "quantize", "--ray", "127.0.0.1:1"), "error: --ray 127.0.0.1:1: no Ray cluster answers there"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_mistakes_with_until_end_with_2_before_any_work(
    options: tuple[str, ...], message: str, config: Path, echox: Echox, tmp_path: Path
) -> None:
    result = echox("build", config, "--store", tmp_path / "new", *options)
    assert result.returncode == 2
    assert result.stderr.startswith(message)
    assert not (tmp_path / "new").exists()


def test_the_help_describes_the_options(echox: Echox) -> None:
    shown = " ".join(echox("build", "--help").stdout.replace("│", " ").split())
    assert "Change a field; the value is YAML" in shown
    assert "Ray cluster for the large steps" in shown
    assert "Run the steps up to this one and commit" in shown


def test_a_silent_server_is_a_user_error(config: Path, echox: Echox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    result = echox("build", config)
    assert result.returncode == 2
    assert "PREFECT_API_URL http://127.0.0.1:1/api: no Prefect server answers there" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


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


def test_a_disk_without_hard_links_is_refused_before_anything_is_written(config: Path, tmp_path: Path) -> None:
    program = (
        "import errno, os\n"
        "def fail(*_, **__): raise OSError(errno.EPERM, os.strerror(errno.EPERM))\n"
        "from flows.cli import main\nos.link = fail\nmain()"
    )
    command = [sys.executable, "-c", program, "build", str(config), "--store", str(tmp_path / "corpus")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}: its file system has no hard links (Operation not permitted)")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing(store: Path, config: Path, echox: Echox, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    shown = echox("build", config, "--dry-run")
    assert (shown.returncode, shown.stderr) == (0, "")
    told = " ".join(shown.stdout.split())
    assert f"{store}: version 1 is the last one; a build has nothing to do. Nothing was written." in told
    new = echox("build", config, "--store", tmp_path / "new", "--dry-run", "--json")
    facts = json.loads(new.stdout)
    assert (new.returncode, facts["entries"]["new"], facts["fits"]) == (0, 11, ["quantizer", "unit_language"])
    assert [step["step"] for step in facts["steps"]] == ["ingest", "quantize", "encode", "shard"]
    assert not (tmp_path / "new").exists()
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("options", "told"), [(["--json"], "--json: only --dry-run"), (["--dry-run", "--until", "quantize"], "--until: ")]
)
def test_options_that_do_not_go_together_are_refused(config: Path, echox: Echox, options: list[str], told: str) -> None:
    refused = echox("build", config, *options)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: {told}")
