"""Labels are the same however they are written: in one go, killed and resumed, on Ray, again after damage."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from echox.errors import EchoxError
from pipelines.engine.execution import ExecutionConfig
from pipelines.errors import UserError
from pipelines.label.options import options
from pipelines.label.run import Labelled, LabelRequest, label
from pipelines.label.verify import problems_of_labels
from storage.errors import StorageError
from storage.labels.kept import label_names
from storage.store import Store
from storage.versions import resolve
from tests.echox.corpora import write_corpus
from tests.echox.runs import untrained

pytestmark = pytest.mark.slow
SETTINGS = ("max_new_tokens=12", "max_words=24", "sentences.shortest=4", "sentences.longest=7")
PROGRAM = """
import json, sys
from rich.console import Console
from pipelines.engine.execution import ExecutionConfig
from pipelines.label.run import LabelRequest, label
values = json.loads(sys.argv[1])
values["settings"] = tuple(values["settings"])
label(LabelRequest(**values, execution=ExecutionConfig()), Console(quiet=True))
"""


class Made(NamedTuple):
    """A corpus of four files of examples, and runs of its first version."""

    corpus: Path
    runs: dict[str, str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("labels")
    corpus = folder / "corpus"
    first = write_corpus(corpus, 16)
    runs = {stage: untrained(stage, first, folder / stage) for stage in ("s2t", "t2c")}
    write_corpus(corpus, 16, seed=1)
    return Made(corpus, runs)


def copied(made: Made, folder: Path) -> str:
    return str(shutil.copytree(made.corpus, folder))


def request(made: Made, corpus: str, execution: ExecutionConfig | None = None, *, batch: int = 7) -> LabelRequest:
    return LabelRequest(
        corpus=corpus, runs=made.runs, settings=SETTINGS, batch=batch, execution=execution or ExecutionConfig()
    )


def run(asked: LabelRequest) -> Labelled:
    return label(asked, Console(quiet=True))


def files(corpus: str) -> dict[str, bytes]:
    folder = Path(corpus, "training/echo_labels")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rows(corpus: str) -> dict[str, Mapping[str, object]]:
    folder = Path(corpus, "training/echo_labels")
    return {row["example_id"]: row for path in folder.iterdir() for row in pq.read_table(path).to_pylist()}


@pytest.fixture(scope="module")
def whole(made: Made, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with the labels of its last version, written in one go."""
    corpus = copied(made, tmp_path_factory.mktemp("whole") / "corpus")
    assert run(request(made, corpus)).new
    return corpus


def test_every_example_has_its_label_and_nothing_else_changes(made: Made, whole: str) -> None:
    store, version = resolve(whole)
    assert list(problems_of_labels(store, version)) == []
    examples = [
        name for path in version.files("echo") for name in pq.read_table(store.url(path.path))["example_id"].to_pylist()
    ]
    found = rows(whole)
    assert sorted(found) == sorted(examples)
    assert all(row["answer"] for row in found.values())
    new = {path.relative_to(whole).parts[:2] for path in Path(whole).rglob("*.*") if path.is_file()}
    old = {path.relative_to(made.corpus).parts[:2] for path in made.corpus.rglob("*.*") if path.is_file()}
    assert new - old == {("labels", "00000002"), ("training", "echo_labels"), ("data", "receipts")} - old
    assert not run(request(made, whole)).new


def test_killed_and_resumed_they_have_the_same_bytes(made: Made, whole: str, tmp_path: Path) -> None:
    corpus = copied(made, tmp_path / "corpus")
    receipts = Path(corpus, "data/receipts/label")
    values = {"corpus": corpus, "runs": made.runs, "settings": SETTINGS, "batch": 7}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, json.dumps(values)])
    while process.poll() is None and not (receipts.is_dir() and len(list(receipts.glob("*.json"))) > 0):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < len(list(receipts.glob("*.json"))) < 4
    assert label_names(Store.open(corpus), 2) == []
    assert run(request(made, corpus)).new
    assert files(corpus) == files(whole)


def test_on_ray_they_have_the_same_bytes(made: Made, whole: str, tmp_path: Path) -> None:
    corpus = copied(made, tmp_path / "corpus")
    assert run(request(made, corpus, ExecutionConfig(ray_above_seconds=0, workers=2))).new
    assert files(corpus) == files(whole)


def test_they_do_not_depend_on_the_batch(made: Made, whole: str, tmp_path: Path) -> None:
    for batch, drawn in ((1, ()), (5, ("decoding={}",)), (64, ("decoding={}",))):
        corpus = copied(made, tmp_path / f"{batch}{len(drawn)}")
        asked = request(made, corpus, batch=batch)
        run(LabelRequest(**{**vars(asked), "settings": (*SETTINGS, *drawn)}))
        if not drawn:
            assert rows(corpus) == rows(whole)
    drawn = [rows(str(tmp_path / name)) for name in ("51", "641")]
    assert drawn[0] == drawn[1] != rows(whole)


def test_a_later_version_takes_over_what_it_shares(made: Made, tmp_path: Path) -> None:
    corpus = copied(made, tmp_path / "corpus")
    first = run(request(made, f"{corpus}@1")).labels
    before = files(corpus)
    second = run(request(made, f"{corpus}@2")).labels
    assert second.receipts[: len(first.receipts)] == first.receipts
    assert before.items() < files(corpus).items()


def test_damaged_labels_are_named_and_written_again(made: Made, whole: str, tmp_path: Path) -> None:
    corpus = shutil.copytree(whole, tmp_path / "corpus")
    good = files(str(corpus))
    first, second = sorted(Path(corpus, "training/echo_labels").iterdir())[:2]
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    second.unlink()
    store, version = resolve(corpus)
    problems = list(problems_of_labels(store, version))
    assert len(problems) == 2
    assert any(first.name in problem for problem in problems)
    run(request(made, str(corpus)))
    assert files(str(corpus)) == good
    assert list(problems_of_labels(store, version)) == []


def test_labels_in_bfloat16_replace_those_in_float32(made: Made, whole: str, tmp_path: Path) -> None:
    corpus = shutil.copytree(whole, tmp_path / "corpus")
    asked = request(made, str(corpus))
    run(LabelRequest(**{**vars(asked), "settings": (*SETTINGS, "parallel.precision=bf16")}))
    store, version = resolve(corpus)
    assert list(problems_of_labels(store, version)) == []
    assert label_names(store, 2) == label_names(Store.open(whole), 2)
    assert len(files(str(corpus))) == 2 * len(files(whole))


def test_mistakes_are_one_line(made: Made, tmp_path: Path) -> None:
    corpus = str(made.corpus)
    asked = request(made, corpus)

    def change(**fields: object) -> LabelRequest:
        return LabelRequest(**{**vars(asked), **fields})

    unfinished = tmp_path / "unfinished"
    shutil.copytree(made.runs["s2t"], unfinished, ignore=shutil.ignore_patterns("model"))
    wrong = {
        "has no version 9": change(corpus=f"{corpus}@9"),
        "no run.yaml there": change(runs={**made.runs, "s2t": str(tmp_path)}),
        "is a run of stage t2c": change(runs={**made.runs, "s2t": made.runs["t2c"]}),
        "has not finished": change(runs={**made.runs, "s2t": str(unfinished)}),
        "targets=annotated: labels are": change(settings=("targets=annotated",)),
        "max_new_token=3: is not a field": change(settings=("max_new_token=3",)),
        "decoding.top_p": change(settings=("decoding={top_p: 2}",)),
        "labels are not written by a job": change(ray_address="http://localhost:8265"),
        "no Ray cluster answers": change(ray_address="127.0.0.1:9"),
    }
    for message, of in wrong.items():
        with pytest.raises((EchoxError, UserError, StorageError), match=message):
            run(of)
    with pytest.raises(UserError, match=r"--set run.workers=0"):
        options(["run.workers=0"])
    assert options(["run.workers=3", "max_words=9"]) == (ExecutionConfig(workers=3), ("max_words=9",))


def test_an_example_that_no_model_can_hold_is_a_reject(made: Made, tmp_path: Path) -> None:
    """T2C's longest sequence is made so short that it holds short segments only."""
    runs = {stage: str(shutil.copytree(folder, tmp_path / stage)) for stage, folder in made.runs.items()}
    for folder in runs.values():
        card = Path(folder, "run.yaml")
        text = card.read_text()
        card.write_text(text.replace("max_length: 2048", "max_length: 8", 1))
        assert card.read_text() != text
    corpus = copied(made, tmp_path / "corpus")
    labels = run(LabelRequest(**{**vars(request(made, corpus)), "runs": runs})).labels
    facts = labels.facts
    assert facts["rejects"]["too_long_for_model"] > 0
    assert facts["examples"] + facts["rejects"]["too_long_for_model"] == 32
    found = rows(corpus)
    assert sum(row["answer"] is None for row in found.values()) == facts["rejects"]["too_long_for_model"]
    store, version = resolve(corpus)
    assert list(problems_of_labels(store, version)) == []
