"""Speech encoders of Hugging Face's shape: Whisper on log-mel frames, HuBERT and wav2vec2 on waveforms."""

# Shapes: B = examples, F = log-mel frames (100/s), M = mel bins, N = samples at 16 kHz, T = states (50/s), E = width.

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from echox.checkpoints import check_fields, load_weights, read_tensors
from echox.errors import EchoxError
from echox.models.config import PartConfig
from echox.models.ragged import Ragged

ORIGINAL = "parametrizations.weight.original"


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(PartConfig):
    """The speech encoder."""

    kind: Literal["whisper", "hubert", "wav2vec2"] = "whisper"
    """Whose architecture; `whisper` reads log-mel frames (100/s), the others waveforms at 16 kHz."""
    layers: int
    """Number of layers."""
    width: int
    """E: dimensions of its states, 50/s."""
    heads: int
    """Attention heads."""
    feed_forward: int
    """Inner dimensions of the feed-forward."""
    mels: int = 128
    """Whisper: bins of a log-mel frame."""
    max_frames: int = 3000
    """Whisper: frames of its window; 3000 are 30 s."""
    full_window: bool = True
    """Whisper: always see a whole window, silence behind the speech, as in its pretraining; else the speech alone."""
    layer_norm_front_end: bool = False
    """HuBERT and wav2vec2: the large models' variant, layer norms in the convolutions and before each layer."""
    checkpoint: str | None = None
    """Local Hugging Face folder of pretrained weights; without one they are random."""
    trainable: bool = False
    """Train it too, as a random one must be."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise EchoxError(f"width {self.width}: heads ({self.heads}) must divide it")
        if self.max_frames % 2:
            raise EchoxError(f"max_frames {self.max_frames}: must be even, two frames make one state")


class SpeechEncoder(nn.Module):
    """Base of the encoders: frozen unless the configuration says otherwise, and then in evaluation mode always."""

    prefixes: tuple[str, ...] = ("",)
    """What names may begin with in a checkpoint."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: Any = self.build()
        self.train()

    def build(self) -> nn.Module:
        """Hugging Face's module with random weights."""
        raise NotImplementedError

    def expected(self) -> dict[str, Any]:
        """Fields of `config.json` that the weights depend on."""
        raise NotImplementedError

    def encode(self, speech: Ragged) -> Ragged:
        """(B, T, E) states of what `forward` takes."""
        raise NotImplementedError

    def forward(self, speech: Ragged) -> Ragged:
        """(B, T, E) states, 50/s; an example's do not depend on what it shares a batch with.

        Args:
            speech: (B, F, M) log-mel frames (Whisper) or (B, N) waveforms.
        """
        with torch.set_grad_enabled(self.config.trainable and torch.is_grad_enabled()):
            return self.encode(speech)

    def load(self) -> None:
        """Fill in the pretrained weights, where the configuration names a checkpoint."""
        if self.config.checkpoint is None:
            return
        folder = Path(self.config.checkpoint)
        check_fields(folder, self.expected())
        for prefix in self.prefixes:
            if tensors := read_tensors(folder, prefix):
                load_weights(self.encoder, self.only_own(tensors), folder)
                return
        raise EchoxError(
            f"{folder}: no encoder weights named {' or '.join(self.prefixes)}; is it a {self.config.kind}?"
        )

    def only_own(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Without the weights of heads that came with a fine-tuned encoder."""
        return tensors

    def freeze(self) -> None:
        """Let gradients flow only if the configuration says so."""
        self.requires_grad_(self.config.trainable)

    def train(self, mode: bool = True) -> "SpeechEncoder":
        """As in torch, but a frozen encoder stays in evaluation mode."""
        return super().train(mode and self.config.trainable)


class WhisperSpeech(SpeechEncoder):
    """Whisper's encoder. Unlike Hugging Face's it takes less than a window, and then hides what lies behind the end."""

    prefixes = ("model.encoder.", "encoder.")

    def build(self) -> nn.Module:
        """Hugging Face's encoder."""
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return WhisperEncoder(WhisperConfig(**self.expected()))

    def expected(self) -> dict[str, Any]:
        """As in Whisper's `config.json`."""
        return {
            "d_model": self.config.width,
            "encoder_layers": self.config.layers,
            "encoder_attention_heads": self.config.heads,
            "encoder_ffn_dim": self.config.feed_forward,
            "num_mel_bins": self.config.mels,
            "max_source_positions": self.config.max_frames // 2,
        }

    def encode(self, speech: Ragged) -> Ragged:
        """From (B, F, M); at most `max_frames` frames."""
        if speech.values_BL.size(1) > self.config.max_frames:
            raise EchoxError(
                f"speech of {speech.values_BL.size(1)} frames: max_frames is {self.config.max_frames}; cut it"
            )
        lengths_B = (speech.lengths_B + 1) // 2
        states = Ragged(self._front_end(speech), lengths_B)
        mask_B11T = None if self._is_full(speech) else states.mask[:, None, None, :]
        states_BTE = states.values_BL
        for layer in self.encoder.layers:
            states_BTE = layer(states_BTE, mask_B11T, layer_head_mask=None)[0]
        return Ragged(self.encoder.layer_norm(states_BTE), lengths_B)

    def _front_end(self, speech: Ragged) -> Tensor:
        """(B, T, E): two convolutions and positions; what lies behind an end is silenced before each convolution."""
        mask_B1F = speech.mask[:, None, :]
        first_BEF = functional.gelu(self.encoder.conv1(speech.values_BL.transpose(1, 2) * mask_B1F))
        second_BET = functional.gelu(self.encoder.conv2(first_BEF * mask_B1F))
        return second_BET.transpose(1, 2) + self.encoder.embed_positions.weight[: second_BET.size(2)]

    def _is_full(self, speech: Ragged) -> bool:
        return self.config.full_window or bool((speech.lengths_B == speech.values_BL.size(1)).all())

    def freeze(self) -> None:
        """As the base; the sinusoidal positions are never trained."""
        super().freeze()
        self.encoder.embed_positions.requires_grad_(False)


class WaveformSpeech(SpeechEncoder):
    """HuBERT or wav2vec2; each waveform by itself, because their first norm sees the whole of what it is given."""

    prefixes = ("hubert.", "wav2vec2.", "")

    def build(self) -> nn.Module:
        """Hugging Face's model without heads and without SpecAugment."""
        from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model

        fields: dict[str, Any] = {**self.expected(), "mask_time_prob": 0.0, "layerdrop": 0.0}
        if self.config.kind == "hubert":
            return HubertModel(HubertConfig(**fields))
        return Wav2Vec2Model(Wav2Vec2Config(**fields))

    def expected(self) -> dict[str, Any]:
        """As in their `config.json`."""
        large = self.config.layer_norm_front_end
        return {
            "hidden_size": self.config.width,
            "num_hidden_layers": self.config.layers,
            "num_attention_heads": self.config.heads,
            "intermediate_size": self.config.feed_forward,
            "feat_extract_norm": "layer" if large else "group",
            "conv_bias": large,
            "do_stable_layer_norm": large,
        }

    def encode(self, speech: Ragged) -> Ragged:
        """From (B, N); at least 400 samples each."""
        states = [self.encoder(waveform_N[None]).last_hidden_state[0] for waveform_N in speech.rows()]
        lengths_B = torch.tensor([len(state_TE) for state_TE in states], device=speech.lengths_B.device)
        return Ragged(nn.utils.rnn.pad_sequence(states, batch_first=True), lengths_B)

    def only_own(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Without heads and SpecAugment's vector; weight norm under the names that torch has given it since 2.0."""
        newer = {name.replace("weight_g", ORIGINAL + "0").replace("weight_v", ORIGINAL + "1"): name for name in tensors}
        return {name: tensors[newer[name]] for name in self.encoder.state_dict() if name in newer}


def make_encoder(config: EncoderConfig) -> SpeechEncoder:
    """The encoder of a kind, with random weights."""
    return WhisperSpeech(config) if config.kind == "whisper" else WaveformSpeech(config)
