"""Stages under Ray Train: several workers, one of them killed, chained, registered in the store."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import jsonschema
import psutil
import pytest

from echox.errors import EchoxError
from echox.renamed import warn_renamed
from echox.training import TrainingRequest, check
from pipelines.cluster.training import TrainingConfig, check_training, plan, run_name, train_stage
from storage.errors import StorageError
from storage.models import find_model
from storage.store import Store
from storage.versions import commit, latest, resolve
from tests.echox.corpora import write_corpus
from tests.echox.runs import SMALL, metrics

QUICK = (*SMALL, "schedule.steps=8")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_corpus(tmp_path_factory.mktemp("train") / "corpus")


def config(folder: Path, **changes: object) -> TrainingConfig:
    values = {
        "architecture": "tiny",
        "runs": str(folder / "runs"),
        "settings": dict.fromkeys(("s2t", "t2c", "echo"), QUICK),
    }
    return TrainingConfig.model_validate({**values, **changes})


def test_equal_requests_have_equal_names(corpus: str, tmp_path: Path) -> None:
    one = config(tmp_path)
    assert run_name(one, "t2c", corpus).startswith("tiny-v1-t2c-")
    assert run_name(one, "t2c", corpus) == run_name(config(tmp_path, workers=2), "t2c", corpus)
    assert run_name(one, "t2c", corpus) != run_name(config(tmp_path, settings={}), "t2c", corpus)
    others = {"s2t": (*SMALL, "schedule.steps=9"), "t2c": QUICK, "echo": QUICK}
    assert run_name(one, "t2c", corpus) == run_name(config(tmp_path, settings=others), "t2c", corpus)
    assert run_name(one, "echo", corpus) != run_name(config(tmp_path, settings=others), "echo", corpus)


def test_names_of_runs_are_those_of_the_version_before() -> None:
    training = config(Path("/runs"), settings={"t2c": ("optimizer.lr=0.1",)})
    found = [run_name(training, stage, "/corpora/a@3") for stage in training.stages]
    assert found == ["tiny-v3-s2t-37d6ef8a", "tiny-v3-t2c-af6e1354", "tiny-v3-echo-d0285d3d"]


def test_parameters_of_older_deployments_are_taken(caplog: pytest.LogCaptureFixture) -> None:
    warn_renamed.cache_clear()
    old = {"preset": "tiny", "runs": "/runs", "stages": ["t2c"], "settings": {"t2c": ["data.batch_length=2048"]}}
    new = TrainingConfig.model_validate({"architecture" if key == "preset" else key: old[key] for key in old})
    assert not caplog.records
    assert TrainingConfig.model_validate(old) == new
    assert "training: preset is now called architecture" in caplog.text
    schema = TrainingConfig.model_json_schema()  # Prefect's server checks parameters by it
    jsonschema.validate(old, schema)
    jsonschema.validate(new.model_dump(mode="json"), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**old, "stages": ["t2s"]}, schema)


def test_unknown_stages_are_refused() -> None:
    for wrong in ({"stages": ("t2s",)}, {"settings": {"t2s": ()}}):
        with pytest.raises(ValueError, match=r"no training stage 't2s'; did you mean `t2c`\?"):
            config(Path("/runs"), **wrong)


def test_echo_needs_registered_models(corpus: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="has no model tiny-v1-s2t-"):
        plan(config(tmp_path), "echo", corpus)


def lacking(folder: Path, table: str) -> str:
    """A corpus without examples of one table."""
    store = Store.open(resolve(write_corpus(folder / "corpus", 4))[0].uri)
    full = latest(store)
    assert full is not None
    receipts = [
        replace(receipt, files=tuple(file for file in receipt.files if file.table != table))
        for receipt in full.steps["shard"]
    ]
    return commit(store, replace(full, number=2, parent=1, steps={"shard": receipts})).uri


@pytest.mark.parametrize(
    ("table", "remedy"),
    [
        ("s2t", r"speech with transcripts \(`task: asr` of a source\) or dialogues"),
        ("t2c", r"speech that was read from texts \(`task: tts` of a source\), dialogues with spoken answers"),
        ("echo", r"dialogues whose questions and answers are spoken \(`kind: conversation`\)"),
    ],
)
def test_a_stage_without_examples_is_refused_before_the_first_is_trained(
    tmp_path: Path, table: str, remedy: str
) -> None:
    corpus = lacking(tmp_path, table)
    with pytest.raises(EchoxError, match=f"table '{table}' has 0 examples.*; build the corpus from more {remedy}"):
        check_training(config(tmp_path), corpus)
    assert not (tmp_path / "runs").exists()
    check_training(config(tmp_path, stages=["s2t", "t2c", "echo"]), f"{corpus.rpartition('@')[0]}@1")
    by_hand = TrainingRequest(stage=table, corpus=corpus, architecture="tiny", out=str(tmp_path / "runs" / "one"))
    with pytest.raises(EchoxError, match=f"table '{table}' has 0 examples.*; build the corpus from more {remedy}"):
        check(by_hand)  # as `echox train`
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("stages", [["echo"], ["s2t", "echo"], ["echo", "s2t", "t2c"]])
def test_a_stage_whose_source_models_are_missing_is_refused_before_the_first_is_trained(
    corpus: str, tmp_path: Path, stages: list[str]
) -> None:
    with pytest.raises(EchoxError, match=r"training\.stages: echo starts from a model of (s2t|t2c), .* before echo"):
        check_training(config(tmp_path, stages=stages), corpus)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"architecture": "huge"}, "huge"),
        ({"settings": {"echo": ("optimizer.lr=high",)}}, r"optimizer\.lr"),
    ],
)
def test_faults_of_a_later_stage_are_told_before_the_first_is_trained(
    corpus: str, tmp_path: Path, wrong: dict[str, object], told: str
) -> None:
    with pytest.raises(EchoxError, match=told):
        check_training(config(tmp_path, **wrong), corpus)


def test_a_candidate_is_not_trained_on(tmp_path: Path) -> None:
    store = Store.open(resolve(write_corpus(tmp_path / "corpus"))[0].uri)
    first = latest(store)
    assert first is not None
    commit(store, replace(first, number=2, parent=1, review=["hours went from 10 to 1"]))
    with pytest.raises(StorageError, match="is a candidate: hours went from 10 to 1"):
        check_training(config(tmp_path), f"{store.uri}@2")
    with pytest.raises(StorageError, match="is a candidate: hours went from 10 to 1"):
        plan(config(tmp_path), "t2c", f"{store.uri}@2")
    assert plan(config(tmp_path), "t2c", f"{store.uri}@1").stage == "t2c"


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again_and_the_model_is_registered(corpus: str, tmp_path: Path) -> None:
    settings = {"t2c": (*SMALL, "schedule.steps=60")}
    training = config(tmp_path, workers=2, settings=settings)
    folder = Path(plan(training, "t2c", corpus).out)
    killer = threading.Thread(target=kill_a_worker, args=(folder,))
    killer.start()
    card = train_stage(training, "t2c", corpus)
    killer.join()
    assert find_model(Store.open(corpus.rpartition("@")[0]), card.name) == card
    assert (card.stage, card.steps, card.folder) == ("t2c", 60, str(folder))
    assert Path(card.checkpoint).is_dir()
    assert "valid/loss" in card.metrics
    assert metrics(folder)[-1]["step"] == 60


def kill_a_worker(folder: Path) -> None:
    """SIGKILL one of the workers of this process' Ray, once the first checkpoint is there."""
    while not list((folder / "checkpoints").glob("step_*")):
        time.sleep(0.1)
    children = psutil.Process().children(recursive=True)
    workers = [child for child in children if "RayTrainWorker" in " ".join(child.cmdline())]
    os.kill(workers[0].pid, signal.SIGKILL)


@pytest.mark.slow
def test_stages_chain(corpus: str, tmp_path: Path) -> None:
    training = config(tmp_path)
    runs = {stage: train_stage(training, stage, corpus) for stage in training.stages}
    assert runs["echo"].source_models == {"s2t": runs["s2t"].name, "t2c": runs["t2c"].name}
    assert runs["echo"].code
    wrong = config(tmp_path, settings={"t2c": ("optimizer.lr=high",)})
    with pytest.raises(EchoxError, match=r"optimizer.lr"):
        train_stage(wrong, "t2c", corpus)
