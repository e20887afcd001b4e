"""Features of one transformer layer of a HuBERT model (arXiv 2106.07447)."""

# Shapes: B = 1 utterance, N = samples at 16 kHz, T = frames, D = feature dims.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unitlang.errors import UnitlangError
from unitlang.features.base import FloatArray, WindowedExtractor, fingerprint_of
from unitlang.features.files import BUNDLES, locate
from unitlang.frames import FRAME_SECONDS, SAMPLE_RATE

REVISION = 1
"""Raised with every change of the values, so that nothing computed before is mixed with them."""

_FLOPS_PER_SECOND = 90e9
"""What HuBERT-base reaches in float32 on one Xeon core: 11.8 GFLOP per second of audio at 7.7 x real time."""


class HubertConfig(BaseModel):
    """Features of one layer of a HuBERT model.

    An utterance of up to `max_window_seconds` goes through the model whole, unpadded. A longer one is cut
    into windows of that length (`unitlang.features.windows`), each normalised by itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["hubert"] = "hubert"
    """Which features."""
    checkpoint: str
    """A fairseq, torchaudio or safetensors file, a Hugging Face folder, or a torchaudio bundle's name."""
    layer: int = Field(ge=1)
    """Transformer layer, from 1, as fairseq counts: 9 is the output of the ninth."""
    max_window_seconds: float = Field(default=60.0, ge=1.0, allow_inf_nan=False)
    """Longest stretch that the model sees at once, context included, in seconds."""
    context_seconds: float = Field(default=5.0, ge=0.0, allow_inf_nan=False)
    """What a window of a long utterance sees before and after the frames it gives, at least, in seconds."""
    download: bool = False
    """Whether a torchaudio bundle may be fetched."""

    @model_validator(mode="after")
    def _context_fits(self) -> Self:
        if self.max_window_seconds < 2 * self.context_seconds + 1:
            raise ValueError("max_window_seconds must exceed twice context_seconds by at least 1 second")
        return self


class HubertExtractor(WindowedExtractor):
    """Runs a HuBERT model up to one layer; no layer beyond it is kept or computed."""

    def __init__(self, config: HubertConfig, device: str = "cpu") -> None:
        from unitlang.features.checkpoints import load_hubert

        self.config = config
        self.window_frames = round(config.max_window_seconds / FRAME_SECONDS)
        self.context_frames = round(config.context_seconds / FRAME_SECONDS)
        self._fingerprint = fingerprint_hubert(config)
        self._model, self._normalize, self.dim = load_hubert(config.checkpoint, config.layer)
        self._model.to(device)
        self._device = device
        self.speed = _FLOPS_PER_SECOND / _flops(self._model)

    def fingerprint(self) -> str:
        """See `FeatureExtractor.fingerprint`."""
        return self._fingerprint

    def _compute(self, waveform_N: FloatArray) -> FloatArray:
        import torch

        with torch.inference_mode():
            waveform_BN = torch.from_numpy(waveform_N)[None].to(self._device)
            if self._normalize:
                waveform_BN = torch.nn.functional.layer_norm(waveform_BN, waveform_BN.shape)
            layers_BTD, _ = self._model.extract_features(waveform_BN)
            features_TD: FloatArray = layers_BTD[-1][0].cpu().numpy()
        return features_TD


def fingerprint_hubert(config: HubertConfig) -> str:
    """SHA-256 (hex) of all that the values depend on; does not import torch.

    Raises:
        UnitlangError: the checkpoint is missing, or must be downloaded and that was not asked for.
    """
    if config.checkpoint in BUNDLES and not config.download:
        raise UnitlangError(
            f"{config.checkpoint} is a torchaudio bundle: set `download: true` to fetch it, or give a file"
        )
    bundle = config.checkpoint in BUNDLES
    return fingerprint_of(
        {
            "kind": config.kind,
            "revision": REVISION,
            "checkpoint": config.checkpoint if bundle else locate(config.checkpoint).fingerprint(),
            "layer": config.layer,
            "max_window_seconds": config.max_window_seconds,
            "context_seconds": config.context_seconds,
        }
    )


def _flops(model: Any) -> float:
    """Floating-point operations per second of audio: two per weight and step; attention's products aside."""
    rate, flops = float(SAMPLE_RATE), 0.0
    for block in model.feature_extractor.conv_layers.children():
        rate /= block.conv.stride[0]
        flops += 2 * rate * block.conv.weight.numel()
    return flops + 2 * rate * sum(weight.numel() for weight in model.encoder.parameters())
