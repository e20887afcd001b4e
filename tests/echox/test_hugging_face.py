"""A run as peft and transformers read it."""

import json
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from echox.architectures import dump_architecture
from echox.errors import EchoxError
from echox.hugging_face import write_language_model, write_lora
from echox.models.decoder import RopeScaling
from echox.models.language_model import LanguageModel, LanguageModelConfig
from echox.models.lora import LoraConfig
from echox.recipes.folder import RunCard, RunFolder
from echox.text.sentencepiece import SentencePieceTokenizer
from tests.echox.corpora import NOUNS
from tests.echox.models.shapes import ARCHITECTURE, DECODER

IDS = torch.tensor([[5, 9, 1, 33, 8, 8, 40]])


def language_model(*, tied: bool = False, trainable: str = "lora") -> LanguageModel:
    """A model whose updates are not zero, with two query heads for each head of keys."""
    decoder = replace(DECODER, rope_scaling=RopeScaling(factor=8.0, original_length=64))
    lora = LoraConfig(rank=4, alpha=6.0, targets=("q", "k", "v", "o"))
    torch.manual_seed(0)
    model = LanguageModel(
        LanguageModelConfig(decoder=decoder, vocabulary=60, tied=tied, trainable=trainable, lora=lora)
    )
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model.eval()


def run_of(model: LanguageModel, folder: Path, stage: str = "s2t") -> RunFolder:
    """The folder of a finished run, as far as it matters here."""
    prefix = {"s2t": "llm.", "echo": "s2t.llm.", "t2c": "words."}[stage]
    (folder / "model").mkdir(parents=True)
    tensors = {prefix + name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file({**tensors, "adapter.norm.weight": torch.ones(3)}, folder / "model" / "model.safetensors")
    SentencePieceTokenizer.learn(iter([f"The {noun} is here." for noun in NOUNS] * 20), 300).save(folder)
    card = RunCard(
        stage=stage,
        corpus="a@1",
        architecture_name="tiny",
        settings=(),
        source_models={},
        fingerprints={},
        config={},
        architecture=dump_architecture(replace(ARCHITECTURE, llm=model.config)),
        code="1",
    )
    return RunFolder(folder, card)


def logits(model: LanguageModel) -> torch.Tensor:
    return model.logits(model.states(model.embed(IDS))).detach()


@pytest.mark.parametrize(("tied", "stage"), [(False, "s2t"), (True, "echo")])
def test_peft_adds_the_updates_of_a_run(tied: bool, stage: str, tmp_path: Path) -> None:
    model = language_model(tied=tied)
    run = run_of(model, tmp_path / "run", stage)
    write_lora(run, tmp_path / "lora")
    for weight in (weight for name, weight in model.named_parameters() if name.endswith("up_OR")):
        torch.nn.init.zeros_(weight)
    without = logits(model)
    save_file(
        {f"{'llm.' if stage == 's2t' else 's2t.llm.'}{name}": x.clone() for name, x in model.state_dict().items()},
        run.folder / "model" / "model.safetensors",
    )
    write_language_model(run, tmp_path / "base")
    base = LlamaForCausalLM.from_pretrained(tmp_path / "base").eval()
    torch.testing.assert_close(base(IDS).logits, without, rtol=1e-4, atol=1e-4)
    updated = peft.PeftModel.from_pretrained(base, str(tmp_path / "lora")).eval()
    expected = logits(language_model(tied=tied))
    assert (expected - without).abs().max() > 0.1
    torch.testing.assert_close(updated(IDS).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("trainable", ["lora", "all"])
def test_transformers_reads_the_whole_language_model(trainable: str, tmp_path: Path) -> None:
    model = language_model(trainable=trainable)
    write_language_model(run_of(model, tmp_path / "run"), tmp_path / "whole")
    found = LlamaForCausalLM.from_pretrained(tmp_path / "whole").eval()
    torch.testing.assert_close(found(IDS).logits, logits(model), rtol=1e-4, atol=1e-4)
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["torch_dtype"] == "float32"
    assert (tmp_path / "whole" / "tokenizer.model").is_file()


def test_runs_without_what_is_asked_for_are_refused(tmp_path: Path) -> None:
    whole = run_of(language_model(trainable="all"), tmp_path / "whole")
    with pytest.raises(EchoxError, match="was trained whole, without LoRA; write it with --merge"):
        write_lora(whole, tmp_path / "out")
    with pytest.raises(EchoxError, match="is a run of stage t2c; give one of s2t or echo"):
        write_lora(run_of(language_model(), tmp_path / "t2c", "t2c"), tmp_path / "out")
    (whole.folder / "model" / "model.safetensors").unlink()
    with pytest.raises(EchoxError, match="has not finished"):
        write_language_model(whole, tmp_path / "out")
    assert not (tmp_path / "out").exists()
