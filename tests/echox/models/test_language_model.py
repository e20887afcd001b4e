"""The Llama: Hugging Face's weights and logits, and what is frozen."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from echox.errors import EchoxError
from echox.models.decoder import DecoderConfig, RopeScaling
from echox.models.language_model import LanguageModel, LanguageModelConfig

DECODER = DecoderConfig(
    layers=2,
    hidden_size=32,
    heads=4,
    key_value_heads=2,
    intermediate_size=56,
    max_length=512,
    rope_scaling=RopeScaling(factor=32.0, original_length=64),
)


def save(folder: Path, *, tied: bool, shards: str = "5GB") -> LlamaForCausalLM:
    torch.manual_seed(0)
    rope = {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=60,
            hidden_size=32,
            intermediate_size=56,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            rope_theta=500_000.0,
            rope_scaling=rope,
            max_position_embeddings=512,
            tie_word_embeddings=tied,
            rms_norm_eps=1e-5,
        )
    ).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder, max_shard_size=shards)
    return model


@pytest.mark.parametrize(("tied", "shards", "trainable"), [(True, "5GB", "lora"), (False, "10KB", "all")])
def test_logits_agree_with_transformers(tmp_path: Path, tied: bool, shards: str, trainable: str) -> None:
    reference = save(tmp_path, tied=tied, shards=shards)
    config = LanguageModelConfig(
        decoder=DECODER, vocabulary=60, tied=tied, trainable=trainable, checkpoint=str(tmp_path)
    )
    model = LanguageModel(config).eval()
    model.load()
    ids_BL = torch.randint(0, 60, (2, 100))
    with torch.no_grad():
        found = model.logits(model.states(model.embed(ids_BL)))
        torch.testing.assert_close(found, reference(ids_BL).logits, atol=1e-4, rtol=1e-4)
    assert torch.equal(model.table, reference.get_input_embeddings().weight)


def test_other_architectures_are_refused_by_the_name_of_the_field(tmp_path: Path) -> None:
    save(tmp_path, tied=True)
    config = LanguageModelConfig(decoder=DECODER, vocabulary=60, tied=True, checkpoint=str(tmp_path))
    with pytest.raises(EchoxError, match="vocab_size is 60, not 61"):
        LanguageModel(replace(config, vocabulary=61)).load()
    scaling = RopeScaling(factor=8.0, original_length=64)
    with pytest.raises(EchoxError, match="rope_scaling"):
        LanguageModel(replace(config, decoder=replace(DECODER, rope_scaling=scaling))).load()


@pytest.mark.parametrize("tied", [True, False])
def test_the_embedding_table_is_frozen_always(tied: bool) -> None:
    model = LanguageModel(LanguageModelConfig(decoder=DECODER, vocabulary=60, tied=tied, trainable="all"))
    model.freeze()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"model.decoder_frontend.embed.weight"}
