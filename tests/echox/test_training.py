import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from echox.architectures import ARCHITECTURES
from echox.errors import EchoxError
from echox.recipes.folder import RunFolder
from echox.training import TrainingRequest, check
from storage.errors import StorageError
from tests.echox.corpora import write_corpus
from tests.echox.runs import ask, equal, losses, metrics, old_card, train_here, trained, weights

QUICK = ("schedule.steps=8",)


def test_a_sound_request_passes(tones: str, tmp_path: Path) -> None:
    check(ask("t2c", tones, tmp_path / "run"))
    check(ask("s2t", tones, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "huge"}, "huge"),
        ({"stage": "t2s"}, "no training stage 't2s'; did you mean `t2c`"),
        ({"settings": ("optimizer.lr=high",)}, "optimizer.lr"),
        ({"corpus": "s3://corpora/a?token=Tr0ub4dor"}, r"s3://corpora/a\?token=\*\*\*: holds a password"),
        ({"settings": ("text.tokenizer=https://me:x@host/t",)}, r"https://\*\*\*@host/t: holds a password"),
        ({"stage": "echo"}, "add --source s2t=RUN --source t2c=RUN"),
        ({"stage": "echo", "source_models": {"s2t": "nowhere", "t2c": "nowhere"}}, "nowhere: no run.yaml"),
    ],
)
def test_faults_are_told_before_training(tones: str, tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(EchoxError, match=message):
        check(replace(ask("t2c", tones, tmp_path), **change))


def test_a_corpus_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        check(TrainingRequest(stage="t2c", corpus=str(tmp_path / "none"), architecture="tiny", out="run"))


@pytest.fixture(scope="module")
def sources(tones: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Short runs of s2t and t2c."""
    folder = tmp_path_factory.mktemp("runs")
    for stage in ("s2t", "t2c"):
        train_here(ask(stage, tones, folder / stage, *QUICK))
    return {stage: str(folder / stage) for stage in ("s2t", "t2c")}


def test_a_run_leaves_what_is_promised(tones: str, sources: dict[str, str]) -> None:
    folder = Path(sources["t2c"])
    card = yaml.safe_load((folder / "run.yaml").read_text())
    assert (card["stage"], card["corpus"], card["architecture_name"]) == ("t2c", tones, "tiny")
    assert card["config"]["schedule"]["steps"] == 8
    assert (folder / "tokenizer.model").is_file()
    assert list((folder / "tensorboard").glob("events*"))
    assert [line["step"] for line in metrics(folder)] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    assert not (folder / "metrics").exists()
    assert sorted(path.name for path in (folder / "checkpoints").glob("step_*")) in (
        ["step_8"],
        ["step_4", "step_8"],
    ), "the last and the best"
    assert trained(folder).keys() == weights(folder).keys() - {"text_embedding.weight"}


@pytest.mark.slow
def test_finished_runs_are_not_trained_again_and_no_other_goes_on_in_their_folder(
    tones: str, sources: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(sources["t2c"], folder)
    again, reported = train_here(ask("t2c", tones, folder, *QUICK))
    assert (again.steps, reported) == (8, [])
    assert again.metrics["step"] == 8
    assert equal(weights(folder), weights(Path(sources["t2c"])))
    with pytest.raises(EchoxError, match=r"another schedule\.steps \(8, now 4\)"):
        train_here(ask("t2c", tones, folder, "schedule.steps=4"))


@pytest.mark.slow
def test_a_finished_run_is_lengthened_along_the_longer_curve(
    tones: str, sources: dict[str, str], tmp_path: Path
) -> None:
    long = tmp_path / "long"
    train_here(ask("t2c", tones, long, "schedule.steps=12"))
    lengthened = tmp_path / "lengthened"
    shutil.copytree(sources["t2c"], lengthened)
    result, reported = train_here(ask("t2c", tones, lengthened, "schedule.steps=12"))
    assert result.steps == 12
    assert [line["step"] for line in reported if "loss" in line] == [9, 10, 11, 12]
    rates = [[line["lr"] for line in metrics(run) if "lr" in line][8:] for run in (long, lengthened)]
    assert rates[0] == rates[1]
    assert RunFolder.open(lengthened).card.config["schedule"]["steps"] == 12


def test_a_run_starts_from_the_weights_of_another(tones: str, sources: dict[str, str], tmp_path: Path) -> None:
    last = losses(Path(sources["t2c"]))[8]
    started = replace(ask("t2c", tones, tmp_path / "run", "schedule.steps=4"), init=sources["t2c"])
    train_here(started)
    assert losses(tmp_path / "run")[1] < last * 1.2
    with pytest.raises(EchoxError, match=r"--init .*/model: does not fit what is trained: .* is missing"):
        train_here(replace(ask("s2t", tones, tmp_path / "other", *QUICK), init=sources["t2c"]))
    with pytest.raises(EchoxError, match="--init nowhere: neither a finished run nor a folder with"):
        check(replace(started, init="nowhere"))


@pytest.mark.slow
def test_the_result_is_of_the_model_that_was_kept(tones: str, tmp_path: Path) -> None:
    """With this learning rate the first validation is the best."""
    result, _ = train_here(ask("t2c", tones, tmp_path / "run", *QUICK, "optimizer.lr=3", "optimizer.warmup=0.8"))
    validations = {line["step"]: line["valid/loss"] for line in metrics(tmp_path / "run") if "valid/loss" in line}
    assert validations[4] < validations[8]
    assert (result.best_step, result.metrics["step"], result.metrics["valid/loss"]) == (4, 4, validations[4])


def test_a_part_without_trained_weights_has_no_learning_rate(tones: str, tmp_path: Path) -> None:
    with pytest.raises(EchoxError, match=r"no trained weights begin with 'word'; did you mean `words`"):
        train_here(ask("t2c", tones, tmp_path / "other", *QUICK, "optimizer.part_lrs={word: 1e-3}"))


@pytest.mark.slow
def test_finished_runs_of_the_version_before_are_exported_again_and_started_from(
    tones: str, sources: dict[str, str], tmp_path: Path
) -> None:
    old = {stage: tmp_path / stage for stage in sources}
    for stage, folder in old.items():
        shutil.copytree(sources[stage], folder)
        card = yaml.safe_load((folder / "run.yaml").read_text())
        (folder / "run.yaml").write_text(old_card(stage, tones, card["fingerprints"]["tokenizer"]))
        shutil.rmtree(folder / "model")
        again, reported = train_here(ask(stage, tones, folder, *QUICK))
        assert (again.steps, reported) == (8, [])
        assert equal(weights(folder), weights(Path(sources[stage])))
    check(ask("echo", tones, tmp_path / "run", **{stage: str(folder) for stage, folder in old.items()}))


@pytest.mark.slow
def test_source_models_must_fit(tones: str, sources: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(EchoxError, match="is a run of stage t2c"):
        check(ask("echo", tones, tmp_path, s2t=sources["t2c"], t2c=sources["t2c"]))
    other = ask("echo", write_corpus(tmp_path / "corpus", 12), tmp_path / "run", **sources)
    check(other)  # the same quantizer and unit language
    for name, message in (("unit_language", "another unit_language"), ("tokenizer", "different tokenizers")):
        changed = tmp_path / name
        shutil.copytree(sources["t2c"], changed)
        card = yaml.safe_load((changed / "run.yaml").read_text())
        card["fingerprints"][name] = "other"
        (changed / "run.yaml").write_text(yaml.safe_dump(card))
        with pytest.raises(EchoxError, match=message):
            check(replace(other, source_models={"s2t": sources["s2t"], "t2c": str(changed)}))
    shutil.rmtree(tmp_path / "tokenizer" / "model")
    with pytest.raises(EchoxError, match="has not finished"):
        check(replace(other, source_models={"s2t": sources["s2t"], "t2c": str(tmp_path / "tokenizer")}))


def test_stages_share_one_text_table_that_none_trains(sources: dict[str, str]) -> None:
    s2t, t2c = weights(Path(sources["s2t"])), weights(Path(sources["t2c"]))
    assert s2t["llm.model.decoder_frontend.embed.weight"].equal(t2c["text_embedding.weight"])
    assert "llm.model.decoder_frontend.embed.weight" not in trained(Path(sources["s2t"]))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(("targets=pseudo", "max_new_tokens=12", "max_words=24"), id="pseudo"),
        pytest.param(
            ("targets=pseudo_from_text", "max_words=24", "loss.denoising=dynamic"),
            id="pseudo_from_text",
            marks=pytest.mark.slow,
        ),
        pytest.param(("targets=annotated", "loss.denoising_weight=0"), id="annotated", marks=pytest.mark.slow),
        pytest.param(("targets=annotated", "loss.s2t_weight=1"), id="annotated+s2t", marks=pytest.mark.slow),
    ],
)
def test_echo_trains_on_each_kind_of_targets_and_leaves_the_rest_as_it_was(
    tones: str, sources: dict[str, str], tmp_path: Path, settings: tuple[str, ...]
) -> None:
    out = tmp_path / "echo"
    result, _ = train_here(ask("echo", tones, out, *QUICK, *settings, **sources))
    after, learnt = weights(out), trained(out)
    assert {name.partition(".")[0] for name in learnt} >= {"denoising", "words"}
    before = {f"s2t.{name}": tensor for name, tensor in weights(Path(sources["s2t"])).items()}
    t2c = {name: tensor for name, tensor in weights(Path(sources["t2c"])).items() if name.startswith("words.")}
    before |= {name.replace("words.", "t2c.", 1): tensor for name, tensor in t2c.items()}
    frozen = before.keys() - learnt.keys()
    assert ("loss.s2t_weight=1" in settings) == bool(before.keys() & learnt.keys())
    assert frozen
    assert all(after[name].equal(before[name]) for name in frozen)
    assert not any(learnt[name].equal(t2c[name]) for name in t2c if name.endswith("proj.weight"))
    assert {"valid/sequence_accuracy", "valid/cosine", "valid/unit_error_rate"} <= result.metrics.keys()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["t2c", "s2t"])
def test_recomputed_activations_and_other_precision_learn_the_same(
    tones: str, sources: dict[str, str], tmp_path: Path, stage: str
) -> None:
    plain = losses(Path(sources[stage]))
    train_here(ask(stage, tones, tmp_path / "ac", *QUICK, "parallel.activation_checkpointing=true"))
    assert losses(tmp_path / "ac") == pytest.approx(plain)
    assert weights(tmp_path / "ac").keys() == weights(Path(sources[stage])).keys()
    train_here(ask(stage, tones, tmp_path / "bf16", *QUICK, "parallel.precision=bf16"))
    assert losses(tmp_path / "bf16") == pytest.approx(plain, rel=0.1)
    dtypes = {name: tensor.dtype for name, tensor in weights(tmp_path / "bf16").items()}
    learnt = trained(tmp_path / "bf16").keys()
    assert {dtypes[name] for name in learnt} == {torch.float32}


def test_large_architectures_are_checked_without_their_weights(tones: str, tmp_path: Path) -> None:
    for name in ARCHITECTURES:
        check(TrainingRequest(stage="s2t", corpus=tones, architecture=name, out=str(tmp_path / "run")))
