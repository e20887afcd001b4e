"""Speech encoders of Hugging Face: Whisper on log-mel frames, HuBERT and wav2vec2 on waveforms."""

# Shapes: B = examples, F = log-mel frames (100/s), M = mel bins, N = samples at 16 kHz, T = states (50/s),
# E = hidden size.

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
from echox.weights.filling import unmade

ORIGINAL = "parametrizations.weight.original"


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(PartConfig):
    """The speech encoder."""

    kind: Literal["whisper", "hubert", "wav2vec2"] = "whisper"
    """Architecture; `whisper` reads log-mel frames (100/s), the others waveforms at 16 kHz."""
    layers: int
    """Number of layers."""
    hidden_size: int
    """E: dimensions of the states, 50/s."""
    heads: int
    """Attention heads."""
    intermediate_size: int
    """Inner dimensions of the feed-forward."""
    mels: int = 128
    """Whisper: mel bins of a log-mel frame."""
    max_frames: int = 3000
    """Whisper: log-mel frames of the window; 3000 are 30 s."""
    full_window: bool = True
    """Whisper: read a whole window, padded with silence, as in its pretraining; otherwise the speech alone."""
    layer_norm_front_end: bool = False
    """HuBERT and wav2vec2: layer norms in the convolutions and before each layer, as in the large models."""
    checkpoint: str | None = None
    """Local Hugging Face folder of pretrained weights; without one, weights are random."""
    trainable: bool = False
    """Train the encoder too, which random weights need."""

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads:
            raise EchoxError(f"hidden_size {self.hidden_size}: heads ({self.heads}) must divide it")
        if self.max_frames % 2:
            raise EchoxError(f"max_frames {self.max_frames}: must be even, two frames make one state")


class SpeechEncoder(nn.Module):
    """Base class of the encoders; a frozen one is always in evaluation mode."""

    prefixes: tuple[str, ...] = ("",)
    """Possible prefixes of the weights' names in a checkpoint."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        with unmade(config.checkpoint):
            self.encoder: Any = self.build()
        self.train()

    def build(self) -> nn.Module:
        """Return Hugging Face's module with random weights."""
        raise NotImplementedError

    def expected(self) -> dict[str, Any]:
        """Return the fields of `config.json` that determine the weights' shapes."""
        raise NotImplementedError

    def encode(self, speech: Ragged) -> Ragged:
        """Return (B, T, E) states, from the inputs of `forward`."""
        raise NotImplementedError

    def forward(self, speech: Ragged) -> Ragged:
        """Return (B, T, E) states, 50/s; the states of an example do not depend on the others in its batch.

        Args:
            speech: (B, F, M) log-mel frames (Whisper) or (B, N) waveforms.
        """
        with torch.set_grad_enabled(self.config.trainable and torch.is_grad_enabled()):
            return self.encode(speech)

    def load(self) -> None:
        """Load the pretrained weights, where the configuration names a checkpoint.

        Raises:
            EchoxError: the checkpoint has another architecture, or no encoder.
        """
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
        """Return the tensors without the heads of a fine-tuned encoder."""
        return tensors

    def freeze(self) -> None:
        """Let gradients flow only if the configuration makes the encoder trainable."""
        self.requires_grad_(self.config.trainable)

    def train(self, mode: bool = True) -> "SpeechEncoder":
        """Set the mode as in torch, but keep a frozen encoder in evaluation mode."""
        return super().train(mode and self.config.trainable)


class WhisperSpeech(SpeechEncoder):
    """Whisper's encoder, which unlike Hugging Face's reads less than a window and then masks the padding."""

    prefixes = ("model.encoder.", "encoder.")

    def build(self) -> nn.Module:
        """Return Hugging Face's encoder."""
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return WhisperEncoder(WhisperConfig(**self.expected()))

    def expected(self) -> dict[str, Any]:
        """Return the fields as in Whisper's `config.json`."""
        return {
            "d_model": self.config.hidden_size,
            "encoder_layers": self.config.layers,
            "encoder_attention_heads": self.config.heads,
            "encoder_ffn_dim": self.config.intermediate_size,
            "num_mel_bins": self.config.mels,
            "max_source_positions": self.config.max_frames // 2,
        }

    def encode(self, speech: Ragged) -> Ragged:
        """Return states of log-mel frames (B, F, M), at most `max_frames` of them.

        Raises:
            EchoxError: the speech is longer.
        """
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
        """Return (B, T, E), convolved twice and with positions; padding is set to zero before each convolution."""
        mask_B1F = speech.mask[:, None, :]
        frames_BMF = speech.values_BL.to(self.encoder.conv1.weight.dtype).transpose(1, 2)
        first_BEF = functional.gelu(self.encoder.conv1(frames_BMF * mask_B1F))
        second_BET = functional.gelu(self.encoder.conv2(first_BEF * mask_B1F))
        return second_BET.transpose(1, 2) + self.encoder.embed_positions.weight[: second_BET.size(2)]

    def _is_full(self, speech: Ragged) -> bool:
        return self.config.full_window or bool((speech.lengths_B == speech.values_BL.size(1)).all())

    def freeze(self) -> None:
        """Freeze as the base class does; the sinusoidal positions are never trained."""
        super().freeze()
        self.encoder.embed_positions.requires_grad_(False)


class WaveformSpeech(SpeechEncoder):
    """HuBERT or wav2vec2 on one waveform at a time, because their first norm covers the whole input."""

    prefixes = ("hubert.", "wav2vec2.", "")

    def build(self) -> nn.Module:
        """Return Hugging Face's model without heads and without SpecAugment."""
        from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model

        fields: dict[str, Any] = {**self.expected(), "mask_time_prob": 0.0, "layerdrop": 0.0}
        if self.config.kind == "hubert":
            return HubertModel(HubertConfig(**fields))
        return Wav2Vec2Model(Wav2Vec2Config(**fields))

    def expected(self) -> dict[str, Any]:
        """Return the fields as in their `config.json`."""
        large = self.config.layer_norm_front_end
        return {
            "hidden_size": self.config.hidden_size,
            "num_hidden_layers": self.config.layers,
            "num_attention_heads": self.config.heads,
            "intermediate_size": self.config.intermediate_size,
            "feat_extract_norm": "layer" if large else "group",
            "conv_bias": large,
            "do_stable_layer_norm": large,
        }

    def encode(self, speech: Ragged) -> Ragged:
        """Return states of waveforms (B, N), of at least 400 samples each."""
        dtype = self.encoder.feature_extractor.conv_layers[0].conv.weight.dtype
        states = [self.encoder(waveform_N[None].to(dtype)).last_hidden_state[0] for waveform_N in speech.rows()]
        lengths_B = torch.tensor([len(state_TE) for state_TE in states], device=speech.lengths_B.device)
        return Ragged(nn.utils.rnn.pad_sequence(states, batch_first=True), lengths_B)

    def only_own(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors without heads and SpecAugment's vector; weight norm has its names since torch 2.0."""
        newer = {name.replace("weight_g", ORIGINAL + "0").replace("weight_v", ORIGINAL + "1"): name for name in tensors}
        return {name: tensors[newer[name]] for name in self.encoder.state_dict() if name in newer}


def make_encoder(config: EncoderConfig) -> SpeechEncoder:
    """Return the encoder of a configuration, with random weights."""
    return WhisperSpeech(config) if config.kind == "whisper" else WaveformSpeech(config)
