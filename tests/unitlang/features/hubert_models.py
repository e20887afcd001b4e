"""Small HuBERT models with random weights, and what transformers' own code gives for them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import HubertModel

SIZES = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 96}
FRONT = {"conv_dim": (32,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
BASE: dict[str, Any] = SIZES | FRONT
LARGE: dict[str, Any] = BASE | {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=samples) + 0.01).astype(np.float32)


def make_model(settings: Mapping[str, Any]) -> "HubertModel":
    from transformers import HubertConfig, HubertModel  # seconds, in every process that collects tests

    torch.manual_seed(0)
    model = HubertModel(HubertConfig(**settings))
    for weight in model.parameters():  # make norms and biases count
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, float(weight.mean() > 0.5), 0.1)
    return model.eval()


def reference(model: "HubertModel", waveform_N: np.ndarray, layer: int, *, normalize: bool) -> np.ndarray:
    """Output of a layer before any final norm, caught by a hook."""
    caught: list[torch.Tensor] = []
    hook = model.encoder.layers[layer - 1].register_forward_hook(lambda _m, _i, out: caught.append(out[0]))
    waveform = torch.from_numpy(waveform_N)[None]
    if normalize:
        waveform = (waveform - waveform.mean()) / torch.sqrt(waveform.var(correction=0) + 1e-5)
    with torch.inference_mode():
        states = model(waveform, output_hidden_states=True).hidden_states
    hook.remove()
    if layer < len(model.encoder.layers):
        torch.testing.assert_close(states[layer], caught[0].reshape(states[layer].shape))
    return caught[0].reshape(states[layer].shape)[0].numpy()
