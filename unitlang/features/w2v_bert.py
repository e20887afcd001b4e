"""Features of one layer of a w2v-BERT 2.0 model (arXiv 2312.05187, sec. 3.1), at 50 or 25 Hz."""

# Shapes: N = samples at 16 kHz, L = log-mel frames of 10 ms, M = mel bins, F = frequencies, T = frames,
# D = feature dims; 2M = two log-mel frames side by side.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from unitlang.ahead import ahead
from unitlang.errors import UnitlangError
from unitlang.features.base import FloatArray, K, ModelExtractor, fingerprint_of, not_finite
from unitlang.features.hugging_face import FolderConfig, load_weights, read_settings
from unitlang.features.recording import Recording
from unitlang.features.windows import Window, windows
from unitlang.frames import SAMPLE_RATE, FrameGrid
from unitlang.precision import full_precision

REVISION = 1
"""Raised with every change of the values, so that nothing computed before is mixed with them."""

MEL_GRID = FrameGrid(hop=160, view=400)
"""Grid of the log-mel frames: Kaldi's, only where all 25 ms are there (`snip_edges`)."""

_STACKED = 2
"""Log-mel frames that make one frame of the model."""

_WINDOWS_AHEAD = 4
_BLOCK_SAMPLES = 10 * SAMPLE_RATE
_MEL_BLOCK = 1_000
_VARIANCE_FLOOR = 1e-7
_FFT_SAMPLES = 512


class W2vBertConfig(FolderConfig):
    """Features of one layer of a w2v-BERT 2.0 model, from a local Hugging Face folder (`Wav2Vec2BertModel`).

    An utterance of up to `max_window_seconds` goes through the model whole. A longer one is cut into windows of that
    length (`unitlang.features.windows`), whose mel bins are all normalised by the statistics of the whole utterance.
    """

    speed: ClassVar[float] = 2.0
    gains_by_gpu: ClassVar[bool] = True
    model_type: ClassVar[str] = "wav2vec2-bert"

    kind: Literal["w2v_bert"] = "w2v_bert"
    """Which features."""
    layer: int = Field(ge=1)
    """Conformer layer, from 1."""
    pool: Literal[1, 2] = 1
    """Frames of the model that are averaged into one: 1 gives 50 frames per second, 2 gives 25."""
    max_window_seconds: float = Field(default=30.0, ge=1.0, allow_inf_nan=False)
    """Longest stretch that the model sees at once, context included, in seconds; memory grows with its square."""
    context_seconds: float = Field(default=5.0, ge=0.0, allow_inf_nan=False)
    """Least context before and after the frames that a window of a long utterance gives, in seconds."""

    @model_validator(mode="after")
    def _context_fits(self) -> Self:
        if self.max_window_seconds < 2 * self.context_seconds + 1:
            raise ValueError("max_window_seconds must exceed twice context_seconds by at least 1 second")
        return self

    def grid(self) -> FrameGrid:
        """See `ExtractorConfig.grid`; follows from `pool`."""
        mel_frames = _STACKED * self.pool
        return FrameGrid(hop=mel_frames * MEL_GRID.hop, view=MEL_GRID.num_samples(mel_frames))

    def fingerprint(self) -> str:
        """See `ExtractorConfig.fingerprint`."""
        return fingerprint_of(
            {
                "kind": self.kind,
                "revision": REVISION,
                "checkpoint": self.files().fingerprint(),
                "layer": self.layer,
                "pool": self.pool,
                "max_window_seconds": self.max_window_seconds,
                "context_seconds": self.context_seconds,
            }
        )

    def load(self, device: str = "cpu") -> "W2vBertExtractor":
        """See `ExtractorConfig.load`."""
        return W2vBertExtractor(self, device)


class W2vBertExtractor(ModelExtractor[W2vBertConfig]):
    """Runs a w2v-BERT 2.0 model up to one layer, one window at a time.

    Each window is computed by itself and without padding, so what else is computed with it can change nothing.

    Args:
        config: which features.
        device: torch's name of where the model runs.
    """

    def __init__(self, config: W2vBertConfig, device: str = "cpu") -> None:
        import torch

        super().__init__(config)
        self._device = torch.device(device)
        self._model: Any = _load_model(config).to(self._device)
        self.dim: int = self._model.config.hidden_size
        self._log_mel = LogMel(self._model.config.feature_projection_input_dim // _STACKED)
        self._window_frames = round(config.max_window_seconds / self.grid.frame_seconds)
        self._window_samples = round(config.max_window_seconds * SAMPLE_RATE)
        self._context_frames = round(config.context_seconds / self.grid.frame_seconds)

    def stream_many(self, utterances: Iterable[tuple[K, Iterable[FloatArray]]]) -> Iterator[tuple[K, Any]]:
        """See `FeatureExtractor.stream_many`; reading and log-mel run ahead in a thread of their own."""
        for key, window, mel_LM in ahead(self._prepare(utterances), _WINDOWS_AHEAD):
            yield key, self._compute(mel_LM)[window.first : window.last]

    def _prepare(self, utterances: Iterable[tuple[K, Iterable[FloatArray]]]) -> Iterator[tuple[K, Window, FloatArray]]:
        """Windows of the utterances and the normalised log-mel frames of each.

        Every utterance is read twice: mean and variance must be known before its first window is computed.
        """
        for key, blocks in utterances:
            with closing(Recording(blocks, self._window_samples)) as recording:
                mean_M, deviation_M = self._statistics(recording)
                cut = windows(
                    recording.blocks(_BLOCK_SAMPLES),
                    grid=self.grid,
                    window_frames=self._window_frames,
                    context_frames=self._context_frames,
                )
                for window in cut:
                    mel_LM = (self._log_mel(window.waveform_N) - mean_M) / deviation_M
                    yield key, window, mel_LM.astype(np.float32)

    def _statistics(self, recording: Recording) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of shape (M,) of each mel bin over all log-mel frames of an utterance."""
        count, sum_M, squares_M = 0, 0.0, 0.0
        blocks = recording.blocks(_BLOCK_SAMPLES)
        for window in windows(blocks, grid=MEL_GRID, window_frames=_MEL_BLOCK, context_frames=0):
            mel_LM = self._log_mel(window.waveform_N)[window.first : window.last].astype(np.float64)
            count += len(mel_LM)
            sum_M = sum_M + mel_LM.sum(0)
            squares_M = squares_M + (mel_LM**2).sum(0)
        mean_M = np.asarray(sum_M / max(count, 1))
        variance_M = (squares_M - count * mean_M**2) / max(count - 1, 1)
        return mean_M, np.sqrt(np.maximum(variance_M, 0.0) + _VARIANCE_FLOOR)

    def _compute(self, mel_LM: FloatArray) -> Any:
        """features_TD of a window, context included, as a tensor on the device.

        Raises:
            UnitlangError: NaN or infinite features.
        """
        import torch

        frames = len(mel_LM) // _STACKED
        mel_T2M = mel_LM[: _STACKED * frames].reshape(frames, -1)
        encoder = self._model.encoder
        with torch.inference_mode(), full_precision():
            x_1TD = self._model.feature_projection(torch.from_numpy(mel_T2M)[None].to(self._device))[0]
            positions = None if encoder.embed_positions is None else encoder.embed_positions(x_1TD)
            for layer in encoder.layers:
                x_1TD = layer(x_1TD, relative_position_embeddings=positions)[0]
            if not torch.isfinite(x_1TD).all():
                raise not_finite(self.config.checkpoint)
            pooled = frames // self.config.pool * self.config.pool
            return x_1TD[0, :pooled].unflatten(0, (-1, self.config.pool)).mean(1)


class LogMel:
    """Kaldi's log-mel filter bank with the settings of transformers' `SeamlessM4TFeatureExtractor`.

    Args:
        bins: mel bins.
    """

    def __init__(self, bins: int) -> None:
        from transformers import SeamlessM4TFeatureExtractor

        settings = SeamlessM4TFeatureExtractor(feature_size=bins, num_mel_bins=bins)
        self._filters_FM: NDArray[np.float64] = settings.mel_filters
        self._taper_N: NDArray[np.float64] = settings.window

    def __call__(self, waveform_N: FloatArray) -> FloatArray:
        """mel_LM, natural logarithms, of the waveform at the scale of 16-bit samples."""
        scaled_N = waveform_N.astype(np.float64) * 2**15
        frames_LN = np.lib.stride_tricks.sliding_window_view(scaled_N, MEL_GRID.view)[:: MEL_GRID.hop]
        frames_LN = frames_LN - frames_LN.mean(1, keepdims=True)
        frames_LN[:, 1:] -= 0.97 * frames_LN[:, :-1]
        frames_LN[:, 0] *= 1 - 0.97
        spectrum_LF = np.fft.rfft(frames_LN * self._taper_N, _FFT_SAMPLES)
        power_LM = np.abs(spectrum_LF) ** 2 @ self._filters_FM
        return np.log(np.maximum(power_LM, np.finfo(np.float32).eps)).astype(np.float32)


def _load_model(config: W2vBertConfig) -> Any:
    """The model of transformers without the layers beyond the wanted one, adapter and masking."""
    from transformers import Wav2Vec2BertConfig as Settings
    from transformers import Wav2Vec2BertModel
    from transformers.modeling_utils import no_init_weights

    files = config.files()
    values = read_settings(files, "num_hidden_layers", config.layer)
    kept = {"num_hidden_layers": config.layer, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    without = {"add_adapter": False, "use_intermediate_ffn_before_adapter": False}
    settings = Settings.from_dict({**values, **kept, **without})
    if settings.feature_projection_input_dim % _STACKED:
        raise UnitlangError(f"{files.config}: feature_projection_input_dim must be that of two log-mel frames, even")
    with no_init_weights():  # all are overwritten, and the caller's seed is left alone
        model = Wav2Vec2BertModel(settings)
    load_weights(model, files, ("wav2vec2_bert.",))
    return model
