"""The quantizer: exact nearest centroids, independent of cutting, and its life on disk."""

# scikit-learn's annotations deny what its own documentation allows: n_init as a number, init as an array
# pyright: reportArgumentType=false

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from unitlang.errors import UnitlangError
from unitlang.features import MfccConfig
from unitlang.features.base import K
from unitlang.frames import HUBERT_GRID
from unitlang.quantizer.kmeans import fit_kmeans
from unitlang.quantizer.quantizer import Quantizer, QuantizerConfig, nearest


class Features:
    """An extractor of any width, for features that are given."""

    config = MfccConfig()
    grid = HUBERT_GRID

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def fingerprint(self) -> str:
        return "0" * 64

    def stream(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        yield from ()

    def extract(self, waveform_N: np.ndarray) -> np.ndarray:
        return np.empty((0, self.dim), np.float32)


class Tensors(Features):
    """Gives its blocks as features, in tensors on a device, as HuBERT does."""

    def __init__(self, dim: int, device: str) -> None:
        super().__init__(dim)
        self.device = device

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    def stream_many(self, utterances: Iterable[tuple[K, Iterable[np.ndarray]]]) -> Iterator[tuple[K, torch.Tensor]]:
        return ((key, self.tensor(block)) for key, blocks in utterances for block in blocks)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=samples)).astype(np.float32)


@pytest.fixture(scope="module")
def quantizer() -> Quantizer:
    extractor = MfccConfig().load()
    centroids_KD = fit_kmeans(extractor.extract(noise(100_000)), 32, seed=0, iterations=5)
    return Quantizer(extractor, centroids_KD, "f" * 64, {"frames": 312})


def assert_nearest(features_TD: np.ndarray, centroids_KD: np.ndarray) -> int:
    """Compares with scikit-learn; where they differ both must be equally near. Returns how often."""
    units_T = Quantizer(Features(centroids_KD.shape[1]), centroids_KD, "0").assign(features_TD)
    model = KMeans(len(centroids_KD), init=centroids_KD, n_init=1, max_iter=1).fit(centroids_KD)
    model.cluster_centers_ = centroids_KD
    return assert_as_near(units_T, model.predict(features_TD), features_TD, centroids_KD)


def assert_as_near(
    units_T: np.ndarray, expected_T: np.ndarray, features_TD: np.ndarray, centroids_KD: np.ndarray
) -> int:
    different_T = np.flatnonzero(units_T != expected_T)
    for t in different_T:
        squares_K = ((features_TD[t].astype(np.float64) - centroids_KD) ** 2).sum(1)
        scale = (features_TD[t] ** 2).sum()
        assert abs(squares_K[units_T[t]] - squares_K[expected_T[t]]) < 1e-6 * scale
    return len(different_T)


def test_agrees_with_scikit_learn_on_random_features() -> None:
    random = np.random.default_rng(0)
    centroids_KD = random.normal(size=(500, 768)).astype(np.float32)
    assert_nearest(random.normal(size=(3000, 768)).astype(np.float32), centroids_KD)


def test_agrees_with_scikit_learn_on_real_features(shared_data: Path) -> None:
    units = shared_data / "units"
    features_TD = np.load(units / "fairseq_hubert_tests/sample.base.L9.npy").astype(np.float32)
    centroids_KD = np.load(units / "streamspeech/mhubert_km1000_layer11_centroids.npy").astype(np.float32)
    random = np.random.default_rng(0)
    around_TD = centroids_KD[random.integers(1000, size=3000)] + 0.3 * random.normal(size=(3000, 768))
    assert assert_nearest(features_TD, centroids_KD) == 0
    assert_nearest(around_TD.astype(np.float32), centroids_KD)


def test_a_unit_does_not_depend_on_its_neighbours() -> None:
    random = np.random.default_rng(0)
    centroids_KD = random.normal(size=(100, 39)).astype(np.float32)
    pairs_T2 = random.integers(100, size=(700, 2))  # frames halfway between two centroids: ties but for rounding
    features_TD = centroids_KD[pairs_T2].mean(1)
    quantizer = Quantizer(Features(39), centroids_KD, "0")
    units_T = quantizer.assign(features_TD)
    before = faiss.omp_get_max_threads()
    try:
        for threads in (1, 2, 3):
            faiss.omp_set_num_threads(threads)
            for size in (1, 19, 20, 21, 256, 300):
                parts = [quantizer.assign(features_TD[i : i + size]) for i in range(0, 700, size)]
                np.testing.assert_array_equal(np.concatenate(parts), units_T)
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))],
)
def test_tensors_get_the_units_of_arrays(device: str, shared_data: Path) -> None:
    centroids_KD = np.load(shared_data / "units/streamspeech/mhubert_km1000_layer11_centroids.npy").astype(np.float32)
    random = np.random.default_rng(0)
    pairs_T2 = random.integers(1000, size=(3000, 2))
    features_TD = centroids_KD[pairs_T2].mean(1) + 0.01 * random.normal(size=(3000, 768)).astype(np.float32)
    extractor = Tensors(768, device)
    quantizer = Quantizer(extractor, centroids_KD, "0")
    ((_, units_T),) = quantizer.quantize_many([(None, [features_TD])])
    of_product_T = nearest(extractor.tensor(features_TD), extractor.tensor(centroids_KD))  # as on a GPU
    expected_T = quantizer.assign(features_TD)
    assert units_T.dtype == of_product_T.dtype == np.uint16
    for found_T in (units_T, of_product_T):
        assert assert_as_near(found_T, expected_T, features_TD, centroids_KD) <= 3


@pytest.mark.parametrize("samples", [0, 399, 400, 5_000, 1_000_000])
def test_quantize_any_blocks(quantizer: Quantizer, samples: int) -> None:
    waveform_N = noise(samples, seed=1)
    expected_T = quantizer.assign(quantizer.extractor.extract(waveform_N))
    assert len(expected_T) == HUBERT_GRID.num_frames(samples)
    for size in (1_000, 480_000):
        blocks = (waveform_N[i : i + size] for i in range(0, samples, size))
        units = list(quantizer.quantize(blocks))
        if samples >= 400:
            np.testing.assert_array_equal(np.concatenate(units), expected_T)
            assert units[0].dtype == np.uint16
        else:
            assert units == []


def test_dump_and_load(quantizer: Quantizer, tmp_path: Path) -> None:
    files = quantizer.dump()
    assert set(files) == {"centroids.safetensors", "card.json"}
    card = json.loads(files["card.json"])
    assert (card["k"], card["dim"], card["fingerprint"], card["fitted"]) == (
        32,
        39,
        "f" * 64,
        {"frames": 312},
    )
    quantizer.save(tmp_path / "q")
    for again in (Quantizer.load(files), Quantizer.open(tmp_path / "q")):
        assert again.dump() == files
        assert (again.k, again.fingerprint) == (32, "f" * 64)
        np.testing.assert_array_equal(again.centroids_KD, quantizer.centroids_KD)


def test_damaged_or_foreign_files(quantizer: Quantizer, tmp_path: Path) -> None:
    files = quantizer.dump()
    for name in files:
        with pytest.raises(UnitlangError, match="not a quantizer"):
            Quantizer.load({**files, name: files[name][:-3]})
        with pytest.raises(UnitlangError, match="not a quantizer"):
            Quantizer.load({other: files[other] for other in files if other != name})
    card = json.loads(files["card.json"]) | {"features_fingerprint": "0" * 64}
    with pytest.raises(UnitlangError, match="not those that the quantizer was made with"):
        Quantizer.load({**files, "card.json": json.dumps(card).encode()})
    with pytest.raises(UnitlangError, match="holds no quantizer"):
        Quantizer.open(tmp_path)


def test_the_card_holds_the_frame_grid(quantizer: Quantizer) -> None:
    files = quantizer.dump()
    card = json.loads(files["card.json"])
    assert card["grid"] == {"hop": 320, "view": 400}
    assert quantizer.grid == HUBERT_GRID

    def load(**changed: Any) -> Quantizer:
        return Quantizer.load({**files, "card.json": json.dumps({**card, **changed}).encode()})

    other = {"hop": 640, "view": 720}
    with pytest.raises(UnitlangError, match=r"grid of hop 640, view 720 samples, .* one of hop 320, view 400 samples"):
        load(grid=other)
    for nonsense in (None, 320, {"hop": 320}, {"hop": 320, "view": "400"}, {"hop": 320, "view": -1}):
        with pytest.raises(UnitlangError, match="not a quantizer"):
            load(grid=nonsense)
    del card["grid"]  # as cards were written before
    assert load().grid == HUBERT_GRID
    with pytest.raises(UnitlangError, match=r"grid of hop 640"):
        load(grid=other)


def test_features_and_centroids_must_fit(quantizer: Quantizer) -> None:
    with pytest.raises(UnitlangError, match="768 dims but the features 39"):
        Quantizer(quantizer.extractor, np.ones((3, 768), np.float32), "0")
    with pytest.raises(UnitlangError, match="frames x 39 dims"):
        quantizer.assign(np.zeros((4, 13), np.float32))
    with pytest.raises(UnitlangError, match="NaN"):
        quantizer.assign(np.full((4, 39), np.nan, np.float32))


def test_config_bounds() -> None:
    assert QuantizerConfig().k == 100
    for wrong in ({"k": 1}, {"k": 20_001}, {"iterations": 0}, {"sample_hours": 0}, {"unknown": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            QuantizerConfig(**wrong)
