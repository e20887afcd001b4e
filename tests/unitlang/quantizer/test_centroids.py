"""Codebooks of others are read; nothing in them is run."""

# scikit-learn's annotations deny what its own documentation allows: n_init as a number
# pyright: reportArgumentType=false, reportDeprecated=false

import bz2
import gzip
import os
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.cluster import KMeans, MiniBatchKMeans

from unitlang.errors import UnitlangError
from unitlang.quantizer.centroids import read_centroids


@pytest.fixture(scope="module")
def points_ND() -> np.ndarray:  # noqa: N802
    return np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)


@pytest.fixture(scope="module", params=["kmeans", "minibatch", "partial_fit", "random_state"])
def model(request: pytest.FixtureRequest, points_ND: np.ndarray) -> Any:
    if request.param == "kmeans":
        return KMeans(4, n_init=1, random_state=0).fit(points_ND.astype(np.float64))
    if request.param == "partial_fit":
        return MiniBatchKMeans(4, n_init=1, random_state=0).partial_fit(points_ND)
    state = np.random.RandomState(0) if request.param == "random_state" else 0
    return MiniBatchKMeans(4, n_init=1, random_state=state).fit(points_ND)


def assert_reads(path: Path, expected_KD: np.ndarray) -> None:
    centroids_KD = read_centroids(path)
    assert centroids_KD.dtype == np.float32
    np.testing.assert_array_equal(centroids_KD, expected_KD.astype(np.float32))


@pytest.mark.parametrize("compress", [0, 3, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)], ids=str)
def test_joblib(model: Any, compress: Any, tmp_path: Path) -> None:
    joblib.dump(model, tmp_path / "km.bin", compress=compress)
    assert_reads(tmp_path / "km.bin", model.cluster_centers_)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_joblib_protocols(model: Any, protocol: int, tmp_path: Path) -> None:
    joblib.dump(model, tmp_path / "km.bin", protocol=protocol)
    assert_reads(tmp_path / "km.bin", model.cluster_centers_)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle(model: Any, protocol: int, tmp_path: Path) -> None:
    (tmp_path / "km.pkl").write_bytes(pickle.dumps(model, protocol=protocol))
    assert_reads(tmp_path / "km.pkl", model.cluster_centers_)


def test_compressed_pickles(model: Any, tmp_path: Path) -> None:
    for compress in (gzip.compress, bz2.compress):
        (tmp_path / "km.pkl").write_bytes(compress(pickle.dumps(model)))
        assert_reads(tmp_path / "km.pkl", model.cluster_centers_)


def test_names_of_older_versions(points_ND: np.ndarray, tmp_path: Path) -> None:
    model = MiniBatchKMeans(4, n_init=1, random_state=0).fit(points_ND)
    data = pickle.dumps(model, protocol=2)
    assert b"csklearn.cluster._kmeans\n" in data
    old = data.replace(b"csklearn.cluster._kmeans\n", b"csklearn.cluster.k_means_\n")
    (tmp_path / "km.pkl").write_bytes(old.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert_reads(tmp_path / "km.pkl", model.cluster_centers_)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
def test_arrays(points_ND: np.ndarray, order: Any, dtype: str, tmp_path: Path) -> None:
    array = np.asarray(points_ND, dtype, order=order)
    joblib.dump(array, tmp_path / "a.joblib")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(array, protocol=5))
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(array, protocol=3))
    np.save(tmp_path / "a.npy", array)
    for name in ("a.joblib", "a.pkl", "b.pkl", "a.npy"):
        assert_reads(tmp_path / name, array)


def test_safetensors(points_ND: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_file({"anything": points_ND}, path)
    assert_reads(path, points_ND)
    save_file({"centroids": points_ND, "counts": np.ones(3)}, path)
    assert_reads(path, points_ND)
    save_file({"a": points_ND, "b": points_ND}, path)
    with pytest.raises(UnitlangError, match="no tensor is named centroids"):
        read_centroids(path)


def test_url(points_ND: np.ndarray) -> None:
    import fsspec

    with fsspec.open("memory://codebooks/c.npy", "wb") as file:
        np.save(file, points_ND)  # pyright: ignore
    np.testing.assert_array_equal(read_centroids("memory://codebooks/c.npy"), points_ND)


class Call:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("write", ["pickle", "joblib", "inside_model", "object_array", "object_array_joblib"])
def test_code_is_refused(write: str, protocol: int, points_ND: np.ndarray, tmp_path: Path) -> None:
    mark, path = tmp_path / "executed", tmp_path / "km.bin"
    for call in (Call(os.system, f"touch {mark}"), Call(eval, f"open({str(mark)!r}, 'w').close()")):
        hostile: Any = call
        if write.startswith("object_array"):
            hostile = np.array([call, call], dtype=object)
        elif write == "inside_model":
            hostile = KMeans(4, n_init=1, random_state=0).fit(points_ND)
            hostile.cluster_centers_ = call
        if "joblib" in write:
            joblib.dump(hostile, path, protocol=protocol)
        else:
            path.write_bytes(pickle.dumps(hostile, protocol=protocol))
        with pytest.raises(UnitlangError):
            read_centroids(path)
        assert not mark.exists()
        if write == "pickle":
            pickle.loads(path.read_bytes())  # noqa: S301
            assert mark.exists(), "the file must be one that does harm when unpickled"
            mark.unlink()


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"cnumpy.core.multiarray\n_reconstruct\n}S'__setstate__'\nN\x86b.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cjoblib\nload\n(S'x'\ntR.",
        b"csklearn.cluster._kmeans\nKMeans.__init__.__globals__\n.",
        b"P123\n.",
        b"\x82\x01.",
    ],
)
def test_hostile_programs(program: bytes, tmp_path: Path) -> None:
    (tmp_path / "km.bin").write_bytes(program)
    with pytest.raises(UnitlangError):
        read_centroids(tmp_path / "km.bin")


def test_refusal_names_the_global(tmp_path: Path) -> None:
    (tmp_path / "km.bin").write_bytes(pickle.dumps(Call(os.system, "true")))
    with pytest.raises(UnitlangError, match=r"refused: it names posix\.system"):
        read_centroids(tmp_path / "km.bin")


def test_a_file_leaves_no_mark_on_the_next(points_ND: np.ndarray, tmp_path: Path) -> None:
    program = b"cnumpy.core.multiarray\n_reconstruct\nN}S'value'\nS'gone'\ns\x86b."  # sets a class attribute
    (tmp_path / "hostile.bin").write_bytes(program)
    with pytest.raises(UnitlangError):
        read_centroids(tmp_path / "hostile.bin")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(points_ND))
    assert_reads(tmp_path / "a.pkl", points_ND)


@pytest.mark.parametrize("compress", [0, 3])
def test_damaged_files_are_user_errors(points_ND: np.ndarray, compress: int, tmp_path: Path) -> None:
    path = tmp_path / "km.bin"
    joblib.dump(KMeans(4, n_init=1, random_state=0).fit(points_ND), path, compress=compress)
    data, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data[: random.integers(1, len(data) + 1)])
        damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            read_centroids(path)
        except UnitlangError as error:
            assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize("content", [{"no": "model"}, [1, 2], "text", KMeans(4)], ids=type)
def test_other_content(content: Any, tmp_path: Path) -> None:
    (tmp_path / "km.bin").write_bytes(pickle.dumps(content))
    with pytest.raises(UnitlangError, match=r"neither a k-means model|never fitted"):
        read_centroids(tmp_path / "km.bin")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), "matrix of numbers"),
        (np.zeros((2, 2), complex), "matrix of numbers"),
        (np.zeros((1, 4)), "k must be within"),
        (np.zeros((20_001, 1)), "k must be within"),
        (np.array([[0.0, np.nan], [0.0, 1.0]]), "NaN"),
    ],
)
def test_unusable_codebooks(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", array)
    with pytest.raises(UnitlangError, match=message):
        read_centroids(tmp_path / "c.npy")


def test_object_npy_and_missing_file(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UnitlangError, match=r"not a readable \.npy"):
        read_centroids(tmp_path / "c.npy")
    with pytest.raises(UnitlangError, match="cannot read"):
        read_centroids(tmp_path / "absent.npy")
    (tmp_path / "empty.bin").write_bytes(b"")
    with pytest.raises(UnitlangError, match="not a readable pickle"):
        read_centroids(tmp_path / "empty.bin")


def test_real_codebook(shared_data: Path) -> None:
    path = shared_data / "units/streamspeech/mhubert_km1000_layer11_centroids.npy"
    assert read_centroids(path).shape == (1000, 768)
