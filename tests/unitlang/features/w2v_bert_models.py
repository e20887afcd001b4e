"""Small w2v-BERT 2.0 models with random weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import Wav2Vec2BertModel

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "conv_depthwise_kernel_size": 7,
    "max_source_positions": 500,
}


def make_w2v_bert(folder: Path, **settings: Any) -> "Wav2Vec2BertModel":
    """Write a model's folder and return the model."""
    from transformers import Wav2Vec2BertConfig, Wav2Vec2BertModel  # seconds, in every process that collects tests

    torch.manual_seed(0)
    model = Wav2Vec2BertModel(Wav2Vec2BertConfig(**SIZES | settings))
    for weight in model.parameters():  # make norms and biases count
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, float(weight.mean() > 0.5), 0.1)
    model.save_pretrained(folder)
    return model.eval()
