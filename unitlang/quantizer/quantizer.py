"""The quantizer: features and centroids in one object that turns speech into units."""

# Shapes: N = samples at 16 kHz, T = frames, D = feature dims, K = clusters.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NotRequired, Self, cast

import faiss
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from typing_extensions import TypedDict

from unitlang.config import FrozenConfig
from unitlang.errors import UnitlangError
from unitlang.features import FeatureExtractor, FeaturesConfig
from unitlang.features.base import K
from unitlang.frames import HUBERT_GRID, FrameGrid
from unitlang.precision import full_precision
from unitlang.quantizer.centroids import check_centroids
from unitlang.quantizer.kmeans import MAX_CLUSTERS, MIN_CLUSTERS

FloatArray = NDArray[np.float32]
UnitArray = NDArray[np.uint16]

CENTROIDS_FILE = "centroids.safetensors"
CARD_FILE = "card.json"

_SEARCH_FRAMES = 256
"""Frames per search; the last search is padded, because FAISS rounds differently for other numbers of frames.

Below 500 dims FAISS subtracts in searches of this size. Matrix products, which it uses in larger ones, are 3 to 5 times
as fast there, but give other units to 0.3 % of frames whose mean is large beside their spread, as with MFCC
(`benchmarks/assignment.py`).
"""


class QuantizerConfig(FrozenConfig):
    """Number of units and the training of their centroids."""

    k: int = Field(default=100, ge=MIN_CLUSTERS, le=MAX_CLUSTERS)
    """Number of units; with `centroids`, the size of the codebook is used instead."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the sample and of k-means."""
    iterations: int = Field(default=20, ge=1)
    """Iterations of k-means."""
    sample_hours: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    """Speech to learn from, in hours."""
    max_frames: int = Field(default=1_000_000, ge=MIN_CLUSTERS)
    """Most frames of the sample to keep; a million of 768 dims are 1.5 GB."""
    centroids: str | None = None
    """Path or URL of a published codebook to use instead of learning one."""


class QuantizerCard(TypedDict):
    """Facts about a quantizer, as its card holds them.

    Attributes:
        kind: `quantizer`.
        fingerprint: identifies the quantizer.
        k: number of units.
        dim: dimensions of the features.
        features: configuration of the extractor, by field.
        features_fingerprint: fingerprint of the extractor.
        fitted: origin of the centroids, by field.
        grid: the extractor's frame grid, by field; missing in cards of before 0.1.
        versions: packages that affect the units.
    """

    kind: str
    fingerprint: str
    k: int
    dim: int
    features: dict[str, Any]
    features_fingerprint: str
    fitted: dict[str, Any]
    grid: NotRequired[dict[str, int]]
    versions: dict[str, str]


class Quantizer:
    """Turns 16 kHz mono speech into one unit per frame of its extractor's grid.

    Attributes:
        extractor: computes the features.
        centroids_KD: float32.
        k: number of units.
        fingerprint: identifies this quantizer.
        fitted: facts about the training of the centroids, for the card.

    Raises:
        UnitlangError: the centroids are not a matrix of finite numbers of the features' dims, or k is out of range.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        centroids_KD: FloatArray,
        fingerprint: str,
        fitted: Mapping[str, Any] | None = None,
    ) -> None:
        centroids_KD = check_centroids(centroids_KD, "centroids")
        if centroids_KD.shape[1] != extractor.dim:
            raise UnitlangError(
                f"the centroids have {centroids_KD.shape[1]} dims but the features {extractor.dim}: "
                "is this the model that the codebook was made with?"
            )
        self.extractor = extractor
        self.centroids_KD = centroids_KD
        self.k = len(centroids_KD)
        self.fingerprint = fingerprint
        self.fitted = dict(fitted or {})
        self._index = faiss.IndexFlatL2(extractor.dim)
        self._index.add(centroids_KD)
        self._centroids_on_device: Any = None

    @property
    def grid(self) -> FrameGrid:
        """The extractor's frame grid."""
        return self.extractor.grid

    def assign(self, features_TD: FloatArray) -> UnitArray:
        """Return the nearest centroid of each frame; a frame's unit does not depend on the other frames.

        Args:
            features_TD: float32.

        Returns:
            units_T uint16.

        Raises:
            UnitlangError: other dims than the centroids', NaN or infinite values.
        """
        if features_TD.ndim != 2 or features_TD.shape[1] != self._index.d:
            raise UnitlangError(f"features must be frames x {self._index.d} dims, got shape {features_TD.shape}")
        if not np.isfinite(features_TD).all():
            raise UnitlangError("the features hold NaN or infinite values: they have no units")
        units_T = np.empty(len(features_TD), np.uint16)
        queries_TD = np.zeros((_SEARCH_FRAMES, self._index.d), np.float32)
        with one_thread():
            for start in range(0, len(features_TD), _SEARCH_FRAMES):
                part_TD = features_TD[start : start + _SEARCH_FRAMES]
                queries_TD[: len(part_TD)] = part_TD
                _, nearest_T1 = self._index.search(queries_TD, 1)
                units_T[start : start + len(part_TD)] = nearest_T1[: len(part_TD), 0]
        return units_T

    def quantize(self, blocks: Iterable[FloatArray]) -> Iterator[UnitArray]:
        """Yield the units of one utterance that comes in blocks of any size, in bounded memory.

        Args:
            blocks: waveform_N float32 arrays, 16 kHz mono.

        Yields:
            units_T uint16, `grid.num_frames(total samples)` in all; nothing if that is 0.

        Raises:
            UnitlangError: NaN or infinite samples or features.
        """
        for _, units_T in self.quantize_many([(None, blocks)]):
            yield units_T

    def quantize_many(self, utterances: Iterable[tuple[K, Iterable[FloatArray]]]) -> Iterator[tuple[K, UnitArray]]:
        """Yield the units of many utterances, in batches if that is faster.

        Another thread may read the blocks.

        Args:
            utterances: a key and the blocks of each, as for `quantize`.

        Yields:
            A key and units_T uint16 of the next frames of its utterance. The frames of one utterance come in order, the
                utterances in any order.

        Raises:
            UnitlangError: as `quantize`.
        """
        for key, features_TD in self.extractor.stream_many(utterances):
            yield key, self._units(features_TD)

    def _units(self, features_TD: Any) -> UnitArray:
        """Return the units of an array or a tensor; searches on the tensor's GPU, so that only units leave it."""
        if isinstance(features_TD, np.ndarray):
            return self.assign(features_TD)
        if features_TD.device.type == "cpu":
            return self.assign(features_TD.numpy())
        if self._centroids_on_device is None:
            self._centroids_on_device = features_TD.new_tensor(self.centroids_KD)
        return nearest(features_TD, self._centroids_on_device)

    def dump(self) -> dict[str, bytes]:
        """Return the quantizer as files; equal quantizers give equal bytes."""
        card: QuantizerCard = {
            "kind": "quantizer",
            "fingerprint": self.fingerprint,
            "k": self.k,
            "dim": self.extractor.dim,
            "features": self.extractor.config.model_dump(mode="json"),
            "features_fingerprint": self.extractor.fingerprint(),
            "fitted": self.fitted,
            "grid": self.grid.to_dict(),
            "versions": {name: version(name) for name in ("faiss-cpu", "numpy", "scipy", "torch", "torchaudio")},
        }
        return {
            CENTROIDS_FILE: save_tensors({"centroids": self.centroids_KD}),
            CARD_FILE: json.dumps(card, indent=2, sort_keys=True).encode(),
        }

    @classmethod
    def load(cls, files: Mapping[str, bytes], device: str = "cpu") -> Self:
        """Load a quantizer from files as returned by `dump`.

        Args:
            files: contents by name.
            device: torch's name of the device that the model runs on.

        Raises:
            UnitlangError: files are missing or damaged, or the checkpoint or the frame grid is not the one that the
                quantizer was made with.
        """
        try:
            card = cast(QuantizerCard, dict(json.loads(files[CARD_FILE])))
            features: FeaturesConfig = TypeAdapter[Any](FeaturesConfig).validate_python(card["features"])
            centroids_KD = load_tensors(files[CENTROIDS_FILE])["centroids"]
            fingerprint, expected = str(card["fingerprint"]), card["features_fingerprint"]
            grid = grid_of_card(card)
        except (KeyError, ValueError, TypeError, SafetensorError, ValidationError, RecursionError) as error:
            raise UnitlangError(f"not a quantizer, or a damaged one: {' '.join(str(error).split())}") from error
        extractor = features.load(device)
        if extractor.fingerprint() != expected:
            raise UnitlangError(
                "the features are not those that the quantizer was made with: another checkpoint lies at "
                f"{getattr(features, 'checkpoint', None)}, or another version of the program made it"
            )
        if extractor.grid != grid:
            raise UnitlangError(
                f"the quantizer was made on a frame grid of {grid}, but its {features.kind} extractor has one of "
                f"{extractor.grid}: another version of the program made it; fit the quantizer again"
            )
        return cls(extractor, centroids_KD, fingerprint, card.get("fitted"))

    def save(self, folder: str | Path) -> None:
        """Write the quantizer's files into a folder, which is created if needed."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.dump().items():
            (folder / name).write_bytes(content)

    @classmethod
    def open(cls, folder: str | Path, device: str = "cpu") -> Self:
        """Load a quantizer from a folder that `save` wrote.

        Raises:
            UnitlangError: as `load`.
        """
        folder = Path(folder)
        names = (CENTROIDS_FILE, CARD_FILE)
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise UnitlangError(f"{folder} holds no quantizer: {', '.join(missing)} missing")
        return cls.load({name: (folder / name).read_bytes() for name in names}, device)


def grid_of_card(card: QuantizerCard) -> FrameGrid:
    """Frame grid in a quantizer's card; cards without one use HuBERT's.

    Raises:
        UnitlangError: the card's grid is not valid.
    """
    return FrameGrid.from_dict(card["grid"]) if "grid" in card else HUBERT_GRID


@contextmanager
def one_thread() -> Generator[None]:
    """Run FAISS on one thread, so that its results do not depend on the number of threads."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def nearest(features_TD: Any, centroids_KD: Any) -> UnitArray:
    """Assign float32 tensors on any device to centroids like `Quantizer.assign`, by one matrix product.

    Equal to FAISS's units except for frames whose two nearest centroids are equally far within float32's rounding.

    Args:
        features_TD: float32 tensor.
        centroids_KD: float32 tensor on the same device.

    Returns:
        units_T uint16, on the CPU.
    """
    with full_precision():
        scores_TK = (centroids_KD * centroids_KD).sum(1) - 2 * features_TD @ centroids_KD.T
    units_T: UnitArray = scores_TK.argmin(1).cpu().numpy().astype(np.uint16)
    return units_T
