"""Runs whose frozen weights are not in their checkpoints."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from echox.architectures import ARCHITECTURES, dump_architecture
from echox.errors import EchoxError
from echox.stages import stage_class, text_columns
from echox.training import TrainingRequest, train
from tests.echox.memory import peak
from tests.echox.runs import ask, equal, losses, trained, weights

pytestmark = pytest.mark.slow

STEPS = 4
QUICK = (
    f"schedule.steps={STEPS}",
    "schedule.validate_every=2",
    "schedule.checkpoint_every=2",
    "max_new_tokens=4",
    "data.valid_batches=1",
    "parallel.precision=bf16",
)


class StoppedError(Exception):
    """The run is interrupted on purpose."""


@pytest.fixture(scope="module")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`tiny` with a frozen encoder of random weights, and LoRA."""
    path, tiny = tmp_path_factory.mktemp("architecture") / "lora.yaml", ARCHITECTURES["tiny"]
    frozen = replace(tiny, encoder=replace(tiny.encoder, trainable=False), llm=replace(tiny.llm, trainable="lora"))
    path.write_text(yaml.safe_dump(dump_architecture(frozen)))
    return str(path)


def asked(tones: str, architecture: str, out: Path) -> TrainingRequest:
    return replace(ask("s2t", tones, out, *QUICK), architecture=architecture)


def interrupted(request: TrainingRequest) -> None:
    """Train until the step after the first checkpoint."""

    def report(values: Mapping[str, float]) -> None:
        if values["step"] == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(request, report)
    assert (Path(request.out) / "checkpoints/step_2").is_dir()


@pytest.fixture(scope="module")
def whole(tones: str, architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    train(asked(tones, architecture, out), lambda _: None)
    return out


def checkpoint(out: Path, step: int) -> dict[str, torch.Tensor]:
    return torch.load(out / f"checkpoints/step_{step}/model/pp_00/tp_00/sdp_00.pt", weights_only=True)


def test_checkpoints_hold_what_is_trained_and_the_model_all(whole: Path) -> None:
    saved, frozen, every = checkpoint(whole, STEPS), load_file(whole / "frozen.safetensors"), weights(whole)
    assert saved.keys() == trained(whole).keys()
    assert all(name.startswith("adapter.") or ".lora." in name for name in saved)
    assert every.keys() == saved.keys() | frozen.keys()
    assert all(every[name].equal(frozen[name]) for name in frozen)
    assert {weight.dtype for weight in frozen.values()} == {torch.bfloat16}
    assert {weight.dtype for weight in saved.values()} == {torch.float32}
    size = sum(path.stat().st_size for path in (whole / f"checkpoints/step_{STEPS}").rglob("*") if path.is_file())
    assert size < 15_000_000
    positions = (whole / f"checkpoints/step_{STEPS}/data_reader/dp_00.pt").stat().st_size
    assert positions < 10_000


def test_an_export_holds_one_weight_at_a_time(tones: str, architecture: str, whole: Path) -> None:
    """The first version held the model and its weights twice."""
    from echox.recipes.export import export
    from echox.recipes.launch import settle

    request = asked(tones, architecture, whole)
    stage = settle(request, stage_class("s2t"), text_columns(), write=False)
    path = whole / "model/model.safetensors"
    before = path.read_bytes()
    path.unlink()
    saved = whole / f"checkpoints/step_{STEPS}/model/pp_00/tp_00/sdp_00.pt"
    mapped = saved.stat().st_size + (whole / "frozen.safetensors").stat().st_size
    most = peak(lambda: export(stage, whole)) - mapped  # torch counts the files that it maps
    assert path.read_bytes() == before
    assert most < len(before) / 4


def test_interrupted_and_resumed_it_ends_with_the_same_bits(
    tones: str, architecture: str, whole: Path, tmp_path: Path
) -> None:
    request = asked(tones, architecture, tmp_path / "run")
    interrupted(request)
    old = tmp_path / "old"
    shutil.copytree(request.out, old)
    train(request, lambda _: None)
    assert equal(weights(tmp_path / "run"), weights(whole))
    assert losses(tmp_path / "run") == losses(whole)
    _as_an_earlier_program_left_it(old)
    train(replace(request, out=str(old)), lambda _: None)
    assert equal(weights(old), weights(whole))


def _as_an_earlier_program_left_it(out: Path) -> None:
    """All weights in the checkpoint, and no references; the random weights of today would be others."""
    path = out / "checkpoints/step_2/model/pp_00/tp_00/sdp_00.pt"
    torch.save({**load_file(out / "frozen.safetensors"), **checkpoint(out, 2)}, path, pickle_protocol=2)
    for name in ("frozen.json", "frozen.safetensors"):
        (out / name).unlink()


def test_echo_refers_to_its_source_models(tones: str, architecture: str, whole: Path, tmp_path: Path) -> None:
    t2c = replace(
        ask("t2c", tones, tmp_path / "t2c", *QUICK[:3], "valid_words=8", *QUICK[-2:]), architecture=architecture
    )
    train(t2c, lambda _: None)
    copied = tmp_path / "s2t"
    shutil.copytree(whole, copied)
    sources = {"s2t": str(copied), "t2c": str(tmp_path / "t2c")}
    settings = (*QUICK, "max_words=8", "loss.s2t_weight=0")
    echo = replace(ask("echo", tones, tmp_path / "echo", *settings, **sources), architecture=architecture)
    interrupted(echo)
    files = [str(Path(folder) / "model/model.safetensors") for folder in sources.values()]
    assert sorted(json.loads((tmp_path / "echo/frozen.json").read_text())) == sorted(files)
    assert load_file(tmp_path / "echo/frozen.safetensors") == {}
    assert not any(name.startswith(("s2t.", "t2c.")) for name in checkpoint(tmp_path / "echo", 2))
    file = copied / "model/model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(EchoxError, match=f"^{file}: is not the file whose frozen weights belong to the run"):
        train(echo, lambda _: None)
    shutil.copy(whole / "model/model.safetensors", file)
    train(echo, lambda _: None)
    every = weights(tmp_path / "echo")
    assert all(every[f"s2t.{name}"].equal(weight.bfloat16()) for name, weight in weights(whole).items())
