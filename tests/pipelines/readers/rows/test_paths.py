import unicodedata
from pathlib import Path

import pytest

from pipelines.readers.places import Place
from pipelines.readers.rows.paths import locate

COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")


@pytest.mark.parametrize(
    ("written", "on_disk"),
    [
        ("clips/a.wav", "clips/a.wav"),
        (f"{COMPOSED}.wav", f"{DECOMPOSED}.wav"),
        (f"{DECOMPOSED}.wav", f"{COMPOSED}.wav"),
        ("clips\\a.wav", "clips/a.wav"),
        (f"clips\\{COMPOSED}.wav", f"clips/{DECOMPOSED}.wav"),
        ("a\\b.wav", "a\\b.wav"),
        ("../up.wav", "../up.wav"),
    ],
)
def test_a_path_means_the_file_that_exists(tmp_path: Path, written: str, on_disk: str) -> None:
    base = tmp_path / "base"
    base.mkdir()
    file = base / on_disk
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"x")
    assert Path(locate(written, Place.of(str(base)))[0].uri).samefile(file)


def test_a_file_of_just_that_name_goes_first(tmp_path: Path) -> None:
    for name in (COMPOSED, DECOMPOSED):
        (tmp_path / name).write_bytes(b"x")
        assert locate(name, Place.of(str(tmp_path)))[0].name == name


def test_an_absent_path_stays_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    folders = [Place.of(str(tmp_path)), Place.of(str(tmp_path / "other"))]
    assert locate("x\\a.wav", *folders)[0].uri == f"{tmp_path}/x\\a.wav"
    assert locate("memory://bucket/é.wav", *folders)[0].uri == "memory:///bucket/é.wav"
    (tmp_path / "other" / "a.wav").write_bytes(b"x")
    assert locate("a.wav", *folders)[0].uri == f"{tmp_path}/other/a.wav"
