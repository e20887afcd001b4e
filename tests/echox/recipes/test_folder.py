"""Cards of runs, also those that the version before wrote (`cards/`)."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from echox.architectures import ARCHITECTURES
from echox.data.corpus import Corpus
from echox.errors import EchoxError
from echox.recipes.folder import ORDER, RunFolder
from echox.recipes.settings import load_settings
from echox.stages import stage_class, text_columns
from echox.trainer.runtime import prepare
from echox.training import TrainingRequest
from tests.echox.runs import ask, old_card

STAGES = ("s2t", "t2c", "echo")


@pytest.mark.parametrize("stage", STAGES)
def test_a_card_of_the_version_before_is_read(stage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run.yaml").write_text(old_card(stage, "/corpora/a@1", "f" * 64))
    card = RunFolder.open(tmp_path).card
    assert (card.stage, card.corpus, card.architecture_name) == (stage, "/corpora/a@1", "tiny")
    assert card.source_models == ({"s2t": "RUNS/s2t", "t2c": "RUNS/t2c"} if stage == "echo" else {})
    assert not caplog.records, "nobody needs to change what a program wrote"
    architecture = RunFolder.open(tmp_path).architecture
    assert architecture == ARCHITECTURES["tiny"].with_vocabularies(
        text=architecture.llm.vocabulary, words=architecture.t2c.words
    )
    config = load_settings(stage_class(stage), "tiny", card.settings)
    assert config.model_dump(mode="json") == card.config


@pytest.mark.parametrize("old_names", [True, False])
def test_a_run_of_the_version_before_is_resumed(tones: str, tmp_path: Path, old_names: bool) -> None:
    fingerprint, request = settled(ask("t2c", tones, tmp_path / "new", "schedule.steps=8"))
    assert yaml.safe_load((tmp_path / "new" / "run.yaml").read_text())["architecture_name"] == "tiny"
    out = tmp_path / "old"
    out.mkdir()
    written = old_card("t2c", tones, fingerprint)
    (out / "run.yaml").write_text(written)
    settings = tuple(yaml.safe_load(written)["settings"]) if old_names else request.settings
    assert ("data.batch_length=2048" in settings) == old_names
    settled(TrainingRequest(stage="t2c", corpus=tones, architecture="tiny", out=str(out), settings=settings))
    assert RunFolder.open(out).card.order == ORDER, "it had no checkpoint, so it begins with the order of today"
    other = (*settings, "optimizer.lr=0.5")
    with pytest.raises(EchoxError, match=r"another optimizer\.lr \(0\.002, now 0\.5\); choose another folder"):
        settled(TrainingRequest(stage="t2c", corpus=tones, architecture="tiny", out=str(out), settings=other))


def test_a_run_of_the_version_before_that_stopped_between_checkpoints_is_refused(tones: str, tmp_path: Path) -> None:
    fingerprint, request = settled(ask("t2c", tones, tmp_path / "new", "schedule.steps=8"))
    out = tmp_path / "old"
    (out / "checkpoints/step_4").mkdir(parents=True)
    written = old_card("t2c", tones, fingerprint)
    (out / "run.yaml").write_text(written)
    old = replace(request, out=str(out))
    with pytest.raises(
        EchoxError, match=r"trained to step 4 by echox 0\.1\.0, .* finish it with that version, or give"
    ):
        settled(old)
    (out / "checkpoints/step_8").mkdir()
    settled(old)
    assert (out / "run.yaml").read_text() == written, "it is finished, and stays as it is"


def test_a_resumed_run_keeps_its_tokenizer(tones: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning it reads all texts of the corpus."""
    fingerprint, request = settled(ask("t2c", tones, tmp_path / "run", "schedule.steps=8"))

    def refuse(*_: object) -> None:
        raise AssertionError("texts were read")

    monkeypatch.setattr(Corpus, "texts", refuse)
    assert settled(request)[0] == fingerprint
    with pytest.raises(AssertionError, match="texts were read"):
        settled(replace(request, out=str(tmp_path / "other")))


def settled(request: TrainingRequest) -> tuple[str, TrainingRequest]:
    """Begin or resume a run without training it; the tokenizer's fingerprint, and the request."""
    prepare()
    from echox.recipes.launch import settle

    return settle(
        request, stage_class(request.stage), text_columns(), write=True
    ).setting.tokenizer.fingerprint, request


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EchoxError, match=r"no run\.yaml there"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.yaml").write_text("stage: t2c\n")
    with pytest.raises(EchoxError, match="cannot be read"):
        RunFolder.open(tmp_path)
