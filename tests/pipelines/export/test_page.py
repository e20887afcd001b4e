"""The commands of the page on exports run as they stand."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.pipelines.export.corpora import Corpus, exported

PAGE = Path(__file__).parents[3] / "docs" / "export.md"
BLOCK = re.compile(r"```(python)?\n(.*?)```", re.DOTALL)


def test_the_page_runs(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("datasets", "lhotse", "webdataset", "kaldiio", "mlcroissant"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    commands, *blocks = BLOCK.findall(PAGE.read_text("utf-8"))
    for folder, name in re.findall(r"uv run echox export \S+ (\S+) --format (\w+)", commands[1]):
        exported(corpus, tmp_path / folder, name, hours=2.0)
    for language, code in blocks:
        if language:
            exec(compile(code, PAGE.name, "exec"), {})  # noqa: S102 - our own page
            assert capsys.readouterr().out
        else:
            subprocess.run(["bash", "-c", code], check=True)
