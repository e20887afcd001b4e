"""Features of one transformer layer of a HuBERT model (arXiv 2106.07447)."""

# Shapes: B = windows of a batch, N = samples at 16 kHz, K = taps of the first convolution, C = its channels,
# T = frames, D = feature dims.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from unitlang.ahead import ahead
from unitlang.errors import UnitlangError
from unitlang.features.base import ExtractorConfig, FloatArray, K, ModelExtractor, fingerprint_of, not_finite
from unitlang.features.batches import batches
from unitlang.features.hubert_parts.files import BUNDLES, locate
from unitlang.features.hubert_parts.moments import Moments
from unitlang.features.recording import Recording
from unitlang.features.windows import Window, windows
from unitlang.frames import HUBERT_GRID, SAMPLE_RATE, FrameGrid
from unitlang.precision import full_precision

REVISION = 4
"""Raised with every change of the values, so that old results are never mixed with new ones."""

BATCH_SECONDS = {"cpu": 16.0, "cuda": 320.0}
"""Seconds of audio per batch, by device type: on a CPU only short utterances gain by batching."""

BATCHES_AHEAD = 2
_STATISTICS_SAMPLES = 10 * SAMPLE_RATE
"""Moments are summed in blocks of this size, so that they do not depend on the blocks of the input."""


class HubertConfig(ExtractorConfig):
    """Features of one layer of a HuBERT model.

    An utterance of up to `max_window_seconds` goes through the model whole. A longer one is cut into windows of that
    length (`unitlang.features.windows`), which are all normalised by the statistics of the whole utterance.
    """

    speed: ClassVar[float] = 6.0
    gains_by_gpu: ClassVar[bool] = True

    kind: Literal["hubert"] = "hubert"
    """Kind of features."""
    checkpoint: str
    """A fairseq, torchaudio or safetensors file, a Hugging Face folder, or a torchaudio bundle's name."""
    layer: int = Field(ge=1)
    """Transformer layer, from 1, as fairseq counts: 9 is the output of the ninth."""
    max_window_seconds: float = Field(default=60.0, ge=1.0, allow_inf_nan=False)
    """Longest stretch that the model processes at once, context included, in seconds."""
    context_seconds: float = Field(default=5.0, ge=0.0, allow_inf_nan=False)
    """Least context before and after the frames that a window of a long utterance yields, in seconds."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Precision of the matrix products; `auto` is bf16 if the starting machine has bf16 matrix units, else fp32."""
    download: bool = False
    """Allow the download of a torchaudio bundle."""

    @model_validator(mode="after")
    def _context_fits(self) -> Self:
        if self.max_window_seconds < 2 * self.context_seconds + 1:
            raise ValueError("max_window_seconds must exceed twice context_seconds by at least 1 second")
        return self

    @classmethod
    def missing_files(cls, values: Mapping[str, Any], absolute: Callable[[str], str]) -> Iterator[tuple[str, str]]:
        """See `ExtractorConfig.missing_files`; with `download` no file is required."""
        checkpoint = values.get("checkpoint")
        if values.get("download") is not True and isinstance(checkpoint, str) and checkpoint:
            try:
                locate(absolute(checkpoint))
            except UnitlangError as error:
                yield "checkpoint", str(error)

    def settled(self, absolute: Callable[[str], str]) -> tuple[Self, str | None]:
        """See `ExtractorConfig.settled`."""
        config = self if self.download else self.model_copy(update={"checkpoint": absolute(self.checkpoint)})
        if self.precision != "auto":
            return config, None
        precision, reason = _precision_here()
        return config.model_copy(update={"precision": precision}), f"precision: auto is {precision}: {reason}"

    def grid(self) -> FrameGrid:
        """See `ExtractorConfig.grid`; loading refuses models on another grid."""
        return HUBERT_GRID

    def fingerprint(self) -> str:
        """See `ExtractorConfig.fingerprint`; imports torch only if `precision` is `auto`."""
        bundle = self.checkpoint in BUNDLES
        if bundle and not self.download:
            raise UnitlangError(
                f"{self.checkpoint} is a torchaudio bundle: set `download: true` to fetch it, or give a file"
            )
        return fingerprint_of(
            {
                "kind": self.kind,
                "revision": REVISION,
                "checkpoint": self.checkpoint if bundle else locate(self.checkpoint).fingerprint(),
                "layer": self.layer,
                "max_window_seconds": self.max_window_seconds,
                "context_seconds": self.context_seconds,
                "precision": resolve_precision(self)[0].precision,
            }
        )

    def load(self, device: str = "cpu") -> "HubertExtractor":
        """See `ExtractorConfig.load`."""
        return HubertExtractor(self, device)


class HubertExtractor(ModelExtractor[HubertConfig]):
    """Runs a HuBERT model up to one layer; later layers are neither kept nor computed.

    Args:
        config: the features to compute.
        device: torch's name of the device that the model runs on.

    Raises:
        UnitlangError: the checkpoint is missing, is not a HuBERT model, or has no such layer.
    """

    def __init__(self, config: HubertConfig, device: str = "cpu") -> None:
        import torch

        from unitlang.features.hubert_parts.checkpoints import load_hubert
        from unitlang.features.hubert_parts.front_end import FirstConvolution
        from unitlang.features.hubert_parts.hubert_model import HubertEncoder

        config = resolve_precision(config)[0]
        super().__init__(config)
        self._window_frames = round(config.max_window_seconds / self.grid.frame_seconds)
        self._window_samples = round(config.max_window_seconds * SAMPLE_RATE)
        self._context_frames = round(config.context_seconds / self.grid.frame_seconds)
        model, normalize, self.dim = load_hubert(config.checkpoint, config.layer)
        self._first: Any = FirstConvolution(model, normalize)
        self._device = torch.device(device)
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self._encoder: Any = HubertEncoder(model, dtype).to(self._device)
        self._batch_samples = round(BATCH_SECONDS[self._device.type] * SAMPLE_RATE)

    def stream_many(self, utterances: Iterable[tuple[K, Iterable[FloatArray]]]) -> Iterator[tuple[K, Any]]:
        """See `FeatureExtractor.stream_many`; a background thread reads and cuts the next utterances."""
        together = batches(self.cut(utterances), self._batch_samples)
        prepared = ((items, self.prepare([window for _, window in items])) for items in together)
        for items, batch in ahead(prepared, BATCHES_AHEAD):
            for (key, window), features_TD in zip(items, self.compute(batch), strict=True):
                yield key, features_TD[window.first : window.last]

    def cut(self, utterances: Iterable[tuple[K, Iterable[FloatArray]]]) -> Iterator[tuple[K, Window]]:
        """Yield the windows of the utterances, each with the moments of its whole utterance.

        Every utterance is read twice: its moments must be known before its first window is computed.

        Raises:
            UnitlangError: NaN or infinite samples.
        """
        for key, blocks in utterances:
            with closing(Recording(blocks, self._window_samples)) as recording:
                moments = Moments()
                for block_N in recording.blocks(_STATISTICS_SAMPLES):
                    moments.add(block_N)
                cut = windows(
                    recording.blocks(_STATISTICS_SAMPLES),
                    grid=self.grid,
                    window_frames=self._window_frames,
                    context_frames=self._context_frames,
                )
                yield from ((key, replace(window, moments=moments)) for window in cut)

    def prepare(self, windows: Sequence[Window]) -> Any:
        """Return the batch (`hubert_model.Batch`) of these windows, which may differ in length."""
        import torch

        from unitlang.features.hubert_parts.hubert_model import Batch

        folded = [self._first.folded(window.moments) for window in windows]
        weight_BKC, bias_BC = (torch.stack(tensors) for tensors in zip(*folded, strict=True))
        samples = [len(window.waveform_N) for window in windows]
        waveform_N = torch.from_numpy(np.concatenate([window.waveform_N for window in windows]))
        batch = Batch(waveform_N, weight_BKC, bias_BC, samples, [self.grid.num_frames(count) for count in samples])
        return batch.pin() if self._device.type == "cuda" else batch

    def compute(self, batch: Any) -> list[Any]:
        """Return features_TD of each window of a batch, context included, as tensors on the device.

        Raises:
            UnitlangError: NaN or infinite features.
        """
        import torch

        with torch.inference_mode(), full_precision():
            features_TD = self._encoder(batch.to(self._device))
            if not torch.isfinite(features_TD).all():
                raise not_finite(self.config.checkpoint)
        return list(features_TD.split(batch.frames))


def resolve_precision(config: HubertConfig) -> tuple[HubertConfig, str]:
    """Return the config with `fp32` or `bf16` in place of `auto`, and the reason for the choice."""
    if config.precision != "auto":
        return config, "as configured"
    precision, reason = _precision_here()
    return config.model_copy(update={"precision": precision}), reason


def _precision_here() -> tuple[Literal["fp32", "bf16"], str]:
    """Choose the fastest precision of this machine: bf16 without matrix units for it is slower than fp32."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", f"{torch.cuda.get_device_name()} has bf16 matrix units"
    flags = Path("/proc/cpuinfo").read_text().split()
    if "amx_bf16" in flags or "avx512_bf16" in flags:
        return "bf16", "this CPU has bf16 matrix units (AMX or AVX512-bf16)"
    return "fp32", "no GPU here, and this CPU has no bf16 matrix units (AMX or AVX512-bf16)"
