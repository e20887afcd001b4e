from pathlib import Path

import pytest

from tests.flows.conftest import Echox


@pytest.mark.parametrize("name", ["hf", "shar", "webdataset", "kaldi"])
def test_a_version_is_exported_and_told_in_a_line(echox: Echox, store: Path, tmp_path: Path, name: str) -> None:
    done = echox("export", f"{store}@1", tmp_path / "out", "--format", name)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{tmp_path / 'out'}: {store}@1 as {name}; 9 utterances, 0.005 h, ")
    assert (tmp_path / "out" / "export.json").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "huggingface"), "--format huggingface: no such format; there are hf, kaldi, shar, webdataset"),
        (("--format", "wds"), "--format wds: no such format; there are hf, kaldi, shar, webdataset"),
        (("--format", "shars"), "--format shars: no such format; did you mean `shar`?"),
    ],
)
def test_mistakes_are_one_line(
    echox: Echox, store: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = echox("export", store, tmp_path / "out", *options)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")
    assert not (tmp_path / "out").exists()


def test_places_that_cannot_take_an_export(echox: Echox, store: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    for place, message in (
        (tmp_path, f"{tmp_path} holds other files; name a new or empty folder"),
        ("s3://bucket/x", "s3://bucket/x: an export is written to a disk"),
    ):
        done = echox("export", store, place, "--format", "kaldi")
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_help_lists_the_formats(echox: Echox) -> None:
    assert "hf, kaldi, shar, webdataset" in " ".join(echox("export", "--help").stdout.replace("│", " ").split())
