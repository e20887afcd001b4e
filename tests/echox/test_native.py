"""The packages bring the libraries that fairseq2's compiled part needs."""

from pathlib import Path

from echox.native import load_libsndfile


def test_soundfiles_own_libsndfile_is_loaded() -> None:
    load_libsndfile()
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libsndfile" in line}
    assert any("_soundfile_data" in path for path in loaded)
