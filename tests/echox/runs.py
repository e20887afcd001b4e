"""Training in this process and in others, on the corpus of tones."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from echox.training import TrainingRequest, TrainingResult, train

SMALL = ("schedule.log_every=1", "schedule.validate_every=4", "schedule.checkpoint_every=4", "data.max_tokens=2048")
CARDS = Path(__file__).parent / "recipes" / "cards"
PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from echox.training import TrainingRequest, train
values, kill_at = json.loads(sys.argv[1]), int(sys.argv[2])
request = TrainingRequest(**{**values, "settings": tuple(values["settings"])})
def report(metrics):
    if 0 < kill_at <= metrics["step"] and list(Path(request.out, "checkpoints").glob("step_*[0-9]")):
        os.kill(os.getpid(), signal.SIGKILL)
train(request, report)
"""


def ask(stage: str, corpus: str, out: Path, *settings: str, **sources: str) -> TrainingRequest:
    """A request for `tiny`."""
    return TrainingRequest(
        stage=stage,
        corpus=corpus,
        architecture="tiny",
        out=str(out),
        source_models=sources,
        settings=(*SMALL, *settings),
    )


def untrained(stage: str, corpus: str, out: Path) -> str:
    """Folder of a finished run with random weights, as good as a trained one where it does not matter what is said."""
    from echox.recipes.folder import MODEL, WEIGHTS
    from echox.recipes.launch import settle
    from echox.stages import stage_class, text_columns
    from echox.trainer.runtime import prepare

    prepare()
    made = settle(ask(stage, corpus, out), stage_class(stage), text_columns(), write=True)
    torch.manual_seed(1)
    model = made.build()
    made.load(model)
    (out / MODEL).mkdir()
    save_file(model.state_dict(), out / MODEL / WEIGHTS)
    return str(out)


def old_card(stage: str, corpus: str, tokenizer: str) -> str:
    """A run.yaml as version 0.1.0 wrote it, for an 8-step run on the corpus of tones."""
    text = (CARDS / f"{stage}.yaml").read_text()
    return text.replace("CORPUS", corpus).replace("TOKENIZER", tokenizer)


def train_here(request: TrainingRequest) -> tuple[TrainingResult, list[Mapping[str, float]]]:
    """The result and what was reported."""
    reported: list[Mapping[str, float]] = []
    return train(request, reported.append), reported


def start(request: TrainingRequest, kill_at: int = 0, **environment: str) -> subprocess.Popen[bytes]:
    """Another process that trains; it kills itself at a step, as soon as there is a checkpoint."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(asdict(request)), str(kill_at)]
    return subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes], expected: int = 0) -> None:
    """Wait for a process; its errors are shown where it ended otherwise."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == expected, errors.decode()[-3000:]


def train_with(workers: int, request: TrainingRequest) -> None:
    """Train in so many processes of one group."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {
        "WORLD_SIZE": str(workers),
        "LOCAL_WORLD_SIZE": str(workers),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    for process in [start(request, **group, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(workers)]:
        finish(process)


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(out: Path) -> dict[float, float]:
    """Training's loss by step; each step stands there once."""
    found = [(line["step"], line["loss"]) for line in metrics(out) if "loss" in line]
    assert len(dict(found)) == len(found)
    return dict(found)


def weights(out: Path) -> dict[str, Tensor]:
    return load_file(out / "model/model.safetensors")


def trained(out: Path) -> dict[str, Tensor]:
    return load_file(out / "trainable.safetensors")


def equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two models are the same to the bit."""
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
