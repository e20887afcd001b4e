"""Training on labels learns what training learns that writes its targets in every step."""

from pathlib import Path

import pytest
from rich.console import Console

from echox.errors import EchoxError
from echox.training import check
from pipelines.engine.execution import ExecutionConfig
from pipelines.label.run import LabelRequest, label
from tests.echox.runs import ask, equal, losses, metrics, train_here, untrained, weights

pytestmark = pytest.mark.slow
SETTINGS = ("max_new_tokens=12", "max_words=24", "sentences.shortest=4", "sentences.longest=7")


def test_training_on_labels_equals_training_that_writes_its_targets(tones: str, tmp_path: Path) -> None:
    sources = {stage: untrained(stage, tones, tmp_path / stage) for stage in ("s2t", "t2c")}
    steps = (*SETTINGS, "schedule.steps=4")
    online, labelled, found = (
        ask("echo", tones, tmp_path / name, *steps, f"targets={targets}", **sources)
        for name, targets in (("online", "online"), ("labelled", "labels"), ("found", "pseudo"))
    )
    with pytest.raises(EchoxError, match=r"no labels; write them: echox label .*--s2t .* --set max_new_tokens=12"):
        check(labelled)
    train_here(online)
    request = LabelRequest(corpus=tones, runs=sources, settings=SETTINGS, batch=7, execution=ExecutionConfig())
    made = label(request, Console(quiet=True))
    assert made.new
    assert not label(request, Console(quiet=True)).new
    for run in (labelled, found):
        train_here(run)
        assert losses(Path(run.out)) == losses(Path(online.out))
        assert equal(weights(Path(run.out)), weights(Path(online.out)))
        assert [line.get("valid/loss") for line in metrics(Path(run.out))] == [
            line.get("valid/loss") for line in metrics(Path(online.out))
        ]
    other = ask("echo", tones, tmp_path / "other", *steps, "targets=labels", "max_words=25", **sources)
    with pytest.raises(EchoxError, match=rf"only labels of other models or settings \({made.labels.name}\)"):
        check(other)
