"""`echox convert`: LoRA, a whole language model, and what is refused."""

from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from tests.echox.test_hugging_face import language_model, run_of
from tests.flows.conftest import Echox

pytestmark = pytest.mark.slow


def test_lora_and_the_language_model_are_written(echox: Echox, tmp_path: Path) -> None:
    run = run_of(language_model(), tmp_path / "run")
    (run.folder / "run.yaml").write_text(yaml.safe_dump(run.card.model_dump(mode="json")))
    assert echox("convert", run.folder, "--out", tmp_path / "lora").stdout == f"{tmp_path / 'lora'}: written\n"
    assert len(load_file(tmp_path / "lora" / "adapter_model.safetensors")) == 2 * 4 * 2
    assert echox("convert", run.folder, "--out", tmp_path / "llama", "--merge").returncode == 0
    assert sorted(path.name for path in (tmp_path / "llama").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.model",
    ]


def test_a_folder_without_a_run_is_refused(echox: Echox, tmp_path: Path) -> None:
    found = echox("convert", tmp_path, "--out", tmp_path / "lora")
    assert found.returncode == 2
    assert found.stderr == f"error: {tmp_path}: no run.yaml there; give the folder of a run of `echox train`\n"
