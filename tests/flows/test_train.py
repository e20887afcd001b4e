"""`echox train` on the sample corpus: what a person sees first."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.flows.conftest import Echox

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_mistakes_are_told_with_exit_code_2(echox: Echox, tmp_path: Path) -> None:
    for name, message in (("tiny", "no store at"), ("huge", "architecture 'huge'")):
        failed = echox("train", "t2c", "--corpus", tmp_path / "none", "--architecture", name, "--out", tmp_path / "run")
        assert failed.returncode == 2
        assert message in failed.stderr


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
        assert f"step {result['steps']}, " in done.stderr
        assert "valid/unit_error_rate" in result["metrics"] or stage == "s2t"
        assert load_file(Path(result["checkpoint"]) / "model.safetensors")
