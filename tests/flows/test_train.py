"""`echox train` on the sample corpus: what a person sees first."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.echox.corpora import write_corpus
from tests.flows.conftest import Echox

EXAMPLES = Path(__file__).parents[2] / "examples"
MORE_STAGES = Path(__file__).parents[1] / "echox" / "more_stages"
QUICK = ("schedule={steps: 8, log_every: 4, validate_every: 4, checkpoint_every: 4}", "data.max_tokens=2048")


def test_mistakes_are_told_with_exit_code_2(echox: Echox, tmp_path: Path) -> None:
    for name, message in (("tiny", "no store at"), ("huge", "architecture 'huge'")):
        failed = echox("train", "t2c", "--corpus", tmp_path / "none", "--architecture", name, "--out", tmp_path / "run")
        assert failed.returncode == 2
        assert message in failed.stderr


def test_an_unknown_stage_and_a_missing_architecture_are_told(echox: Echox, tmp_path: Path) -> None:
    places = ("--corpus", tmp_path / "none", "--out", tmp_path / "run")
    for arguments, message in (
        (("tc2", "--architecture", "tiny"), "no training stage 'tc2'; did you mean `t2c`?"),
        (("t2c",), "--architecture is missing"),
        (("echo", "--architecture", "tiny", "--source", "s2t"), "--source s2t: write STAGE=RUN"),
        (("echo", "--architecture", "tiny", "--source", "s2tt=run"), "no training stage 's2tt'; did you mean `s2t`?"),
    ):
        failed = echox("train", *arguments, *places)
        assert failed.returncode == 2
        assert message in failed.stderr.replace("\n", " ")


def test_old_options_are_taken_with_a_warning(echox: Echox, tmp_path: Path) -> None:
    options = ("--corpus", tmp_path / "none", "--preset", "tiny", "--out", tmp_path / "run", "--s2t", "a", "--t2c", "b")
    failed = echox("train", "echo", *options)
    told = " ".join(failed.stderr.split())
    assert failed.returncode == 2
    for words in ("--preset is now called --architecture", "--s2t RUN is now called --source s2t=RUN", "no store at"):
        assert words in told
    assert "--preset" not in echox("train", "--help").stdout


@pytest.mark.slow
def test_a_new_file_is_a_new_stage(tmp_path: Path) -> None:
    """`tests/echox/more_stages/opening.py` is the only file that names its stage."""
    corpus = write_corpus(tmp_path / "corpus")
    program = f"from echox.recipes import stages; stages.__path__.append({str(MORE_STAGES)!r})\n"
    program += "from flows.cli import main; main()"
    options = ("--corpus", corpus, "--architecture", "tiny", *(f"--set={setting}" for setting in QUICK))
    for stage, source in (("t2c", ()), ("opening", (f"--source=t2c={tmp_path / 't2c'}",))):
        command = [sys.executable, "-c", program, "train", stage, *options, "--out", str(tmp_path / stage), *source]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    assert {"valid/words", "valid/opening_accuracy"} <= json.loads(done.stdout)["metrics"].keys()
    assert load_file(tmp_path / "opening" / "model" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_each_stage_learns_the_sample(echox: Echox, tmp_path: Path) -> None:
    assert echox("build", EXAMPLES / "sample.yaml", "--store", tmp_path / "corpus").returncode == 0
    runs = {stage: tmp_path / stage for stage in ("s2t", "t2c", "echo")}
    sources = ("--source", f"s2t={runs['s2t']}", "--source", f"t2c={runs['t2c']}")
    for stage, bound in (("s2t", 2.5), ("t2c", 0.2), ("echo", 0.8)):
        options = ("--corpus", tmp_path / "corpus@1", "--architecture", "tiny", "--out", runs[stage])
        done = echox("train", stage, *options, *(sources if stage == "echo" else ()))
        assert done.returncode == 0, done.stderr[-2000:]
        result = json.loads(done.stdout)
        lines = [json.loads(line) for line in (runs[stage] / "metrics.jsonl").read_text().splitlines()]
        last = [line for line in lines if "loss" in line][-1]
        assert last["step"] == result["steps"]
        assert last["loss"] < bound, stage
        assert "step {steps} of {steps}, epoch ".format_map(result) in done.stderr
        assert "valid/unit_error_rate" in result["metrics"] or stage == "s2t"
        assert load_file(Path(result["checkpoint"]) / "model.safetensors")
