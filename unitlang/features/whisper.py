"""Features of one layer of a Whisper encoder (arXiv 2212.04356)."""

# Shapes: N = samples at 16 kHz, M = mel bins, L = log-mel frames of 10 ms, F = frequencies, T = frames,
# D = feature dims.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field

from unitlang.ahead import ahead
from unitlang.errors import UnitlangError
from unitlang.features.base import FloatArray, K, ModelExtractor, fingerprint_of, not_finite
from unitlang.features.hugging_face import FolderConfig, load_weights, read_settings
from unitlang.features.windows import Window, windows
from unitlang.frames import FrameGrid
from unitlang.precision import full_precision

REVISION = 1
"""Raised with every change of the values, so that nothing computed before is mixed with them."""

WHISPER_GRID = FrameGrid(hop=320, view=320)
"""A frame for each whole 20 ms: two log-mel frames. 30 s are exactly the 1,500 positions of the model."""

_MEL_HOP, _MEL_VIEW = 160, 400
_MEL_PER_FRAME = 2
_MEL_RANGE = 8.0
"""Log-mel values of a window lie at most this far (in powers of ten) below the highest one."""

_WINDOWS_AHEAD = 4


class WhisperConfig(FolderConfig):
    """Features of one layer of a Whisper encoder, from a local Hugging Face folder.

    An utterance of up to 30 s goes through the encoder as it is, without padding. A longer one is cut into windows of
    30 s (`unitlang.features.windows`), each with the floor of its own log-mel values, as the model was trained.
    """

    speed: ClassVar[float] = 30.0
    gains_by_gpu: ClassVar[bool] = True
    model_type: ClassVar[str] = "whisper"

    kind: Literal["whisper"] = "whisper"
    """Which features."""
    layer: int = Field(ge=1)
    """Encoder layer, from 1; its output is taken before the encoder's final norm, also that of the last one."""
    context_seconds: float = Field(default=5.0, ge=0.0, le=14.0, allow_inf_nan=False)
    """Least context before and after the frames that a window of a long utterance gives, in seconds."""

    def grid(self) -> FrameGrid:
        """See `ExtractorConfig.grid`; all Whisper models have the same."""
        return WHISPER_GRID

    def fingerprint(self) -> str:
        """See `ExtractorConfig.fingerprint`."""
        return fingerprint_of(
            {
                "kind": self.kind,
                "revision": REVISION,
                "checkpoint": self.files().fingerprint(),
                "layer": self.layer,
                "context_seconds": self.context_seconds,
            }
        )

    def load(self, device: str = "cpu") -> "WhisperExtractor":
        """See `ExtractorConfig.load`."""
        return WhisperExtractor(self, device)


class WhisperExtractor(ModelExtractor[WhisperConfig]):
    """Runs a Whisper encoder up to one layer, one window at a time.

    Each window is computed by itself and as long as it is, so what else is computed with it can change nothing.

    Args:
        config: which features.
        device: torch's name of where the encoder runs.
    """

    def __init__(self, config: WhisperConfig, device: str = "cpu") -> None:
        import torch
        from transformers import WhisperFeatureExtractor

        super().__init__(config)
        self._device = torch.device(device)
        self._encoder: Any = _load_encoder(config).to(self._device)
        settings = self._encoder.config
        self.dim = settings.d_model
        self._window_frames = settings.max_source_positions
        self._window_samples = self._window_frames * self.grid.hop
        self._context_frames = round(config.context_seconds / self.grid.frame_seconds)
        if 2 * self._context_frames >= self._window_frames:
            raise UnitlangError(
                f"context_seconds: {config.context_seconds} on both sides leave nothing of the "
                f"{self.grid.seconds(self._window_frames):g} s window of {config.checkpoint}: set less"
            )
        filters_FM = WhisperFeatureExtractor(feature_size=settings.num_mel_bins).mel_filters
        self._filters_MF: Any = torch.from_numpy(filters_FM.T).float()
        self._hann_N: Any = torch.hann_window(_MEL_VIEW)

    def stream_many(self, utterances: Iterable[tuple[K, Iterable[FloatArray]]]) -> Iterator[tuple[K, Any]]:
        """See `FeatureExtractor.stream_many`; reading and log-mel run ahead in a thread of their own."""
        for key, window, mel_ML in ahead(self._prepare(utterances), _WINDOWS_AHEAD):
            yield key, self._compute(mel_ML)[window.first : window.last]

    def _prepare(self, utterances: Iterable[tuple[K, Iterable[FloatArray]]]) -> Iterator[tuple[K, Window, Any]]:
        """Windows of the utterances and the encoder's input for each."""
        for key, blocks in utterances:
            cut = windows(
                blocks, grid=self.grid, window_frames=self._window_frames, context_frames=self._context_frames
            )
            yield from ((key, window, self._log_mel(window)) for window in cut)

    def _log_mel(self, window: Window) -> Any:
        """mel_ML of a window padded to its full length as Whisper wants it, but for the frames after the speech."""
        import torch

        frames = self.grid.num_frames(len(window.waveform_N))
        waveform_N = torch.from_numpy(window.waveform_N[: self._window_samples])
        padding = min(_MEL_VIEW, self._window_samples - len(waveform_N))
        with torch.inference_mode(), full_precision():
            waveform_N = torch.nn.functional.pad(waveform_N, (0, padding))
            spectrum_FL = torch.stft(waveform_N, _MEL_VIEW, _MEL_HOP, window=self._hann_N, return_complex=True)
            power_FL = spectrum_FL[:, : _MEL_PER_FRAME * frames].abs() ** 2
            mel_ML = (self._filters_MF @ power_FL).clamp(min=1e-10).log10()
            return (mel_ML.clamp(min=float(mel_ML.max()) - _MEL_RANGE) + 4.0) / 4.0

    def _compute(self, mel_ML: Any) -> Any:
        """features_TD of a window, context included, as a tensor on the device.

        Raises:
            UnitlangError: NaN or infinite features.
        """
        import torch
        from torch.nn.functional import gelu

        encoder = self._encoder
        with torch.inference_mode(), full_precision():
            x_1DL = gelu(encoder.conv1(mel_ML[None].to(self._device)))
            x_1TD = gelu(encoder.conv2(x_1DL)).transpose(1, 2)
            x_1TD = x_1TD + encoder.embed_positions.weight[: x_1TD.shape[1]]
            for layer in encoder.layers:
                x_1TD = layer(x_1TD, attention_mask=None, layer_head_mask=None)[0]
            if not torch.isfinite(x_1TD).all():
                raise not_finite(self.config.checkpoint)
        return x_1TD[0]


def _load_encoder(config: WhisperConfig) -> Any:
    """The encoder of transformers without the layers beyond the wanted one."""
    from transformers import WhisperConfig as Settings
    from transformers.modeling_utils import no_init_weights
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    files = config.files()
    values = read_settings(files, "encoder_layers", config.layer)
    settings = Settings.from_dict({**values, "encoder_layers": config.layer, "attn_implementation": "sdpa"})
    with no_init_weights():  # all are overwritten, and the caller's seed is left alone
        encoder = WhisperEncoder(settings)
    load_weights(encoder, files, ("model.encoder.", "encoder."))
    return encoder
