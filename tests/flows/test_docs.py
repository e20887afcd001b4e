"""The Python of the docs runs on a corpus."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def test_the_python_of_the_corpus_page_runs(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "corpus.md").read_text("utf-8")
    read, rejects, elsewhere = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(read.replace("examples/sample-corpus", str(store)), "docs/corpus.md", "exec"), names)  # noqa: S102
    assert names["table"].column_names[0] == "utterance_id"
    exec(compile(rejects, "docs/corpus.md", "exec"), names)  # noqa: S102 - our own page
    out = capsys.readouterr().out
    assert "empty.wav empty_file " in out
    assert "text.wav not_audio " in out
    names["paths"] = [f"{store}/{file.path}" for file in names["version"].files("utterances")]
    pyarrow_alone = elsewhere[elsewhere.index("import pyarrow") :]  # DuckDB and Polars are not installed
    exec(compile(pyarrow_alone, "docs/corpus.md", "exec"), names)  # noqa: S102 - our own page
    assert len(names["frame"]) == 9
    listed = re.search(r"`files` takes the names of the tables below: (.*?)\. The", page, re.DOTALL)
    assert listed is not None
    for name in re.findall(r"`(\w+)`", listed[1]):
        names["version"].files(name)
