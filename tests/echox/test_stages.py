"""The registry of training stages: one module each, found by being there."""

import subprocess
import sys
from pathlib import Path

import pytest

from echox.architectures import ARCHITECTURES
from echox.costs.stages import costs_of
from echox.errors import EchoxError
from echox.recipes import stages
from echox.recipes.settings import load_settings
from echox.recipes.stage import Stage
from echox.stages import check_stage, stage_class, stage_names, text_columns
from echox.training import check
from storage.schemas import SCHEMAS, TRAINING
from tests.echox.runs import ask

MORE_STAGES = Path(__file__).with_name("more_stages")


@pytest.fixture
def more_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage of the tests lies beside the others."""
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(MORE_STAGES)])
    monkeypatch.delitem(sys.modules, f"{stages.__name__}.opening", raising=False)


def test_every_module_of_the_folder_is_a_stage() -> None:
    files = {path.stem for path in Path(stages.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(stage_names()) == files >= {"s2t", "t2c", "echo"}


@pytest.mark.parametrize("name", stage_names())
def test_a_stage_brings_everything(name: str) -> None:
    stage = stage_class(name)
    assert issubclass(stage, Stage)
    assert stage.name == name
    assert stage.table in TRAINING
    assert set(stage.text_columns) <= set(SCHEMAS[stage.table].names)
    assert set(stage.stands_on) <= {*stage_names()} - {name}
    assert stage.defaults.keys() <= ARCHITECTURES.keys()
    assert stage.metrics
    for architecture in ARCHITECTURES:
        assert isinstance(load_settings(stage, architecture, ()), stage.config)


def test_an_unknown_stage_gets_a_hint() -> None:
    with pytest.raises(EchoxError, match=r"no training stage 'tc2'; did you mean `t2c`\?"):
        check_stage("tc2")
    with pytest.raises(EchoxError, match=r"no training stage 'vocoding'; there are .*echo.*s2t, t2c"):
        stage_class("vocoding")


@pytest.mark.parametrize("module", ["echox.stages", "echox.training", "flows.cli.train"])
def test_names_are_cheap(module: str) -> None:
    program = (
        f"import sys, {module}\nfrom echox.stages import stage_names\nprint(len(stage_names()), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(stage_names())), "False"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must define exactly one Stage, named 'broken'; it defines none"),
        ("from echox.recipes.stages.t2c import TextToWords\n", "it defines none"),
        ("from echox.recipes.stages.t2c import TextToWords\nclass Broken(TextToWords):\n    pass\n", "it defines t2c"),
    ],
    ids=["empty", "only imports one", "another name"],
)
def test_a_module_without_its_stage_is_refused(
    content: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(content)
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, f"{stages.__name__}.broken", raising=False)
    with pytest.raises(EchoxError, match=message):
        stage_class("broken")


@pytest.mark.usefixtures("more_stages")
def test_a_new_file_is_a_new_stage(tones: str, tmp_path: Path) -> None:
    assert "opening" in stage_names()
    config = load_settings(stage_class("opening"), "tiny", ("first_words=3",))
    assert (config.schedule.steps, config.model_dump()["first_words"]) == (20, 3)
    with pytest.raises(EchoxError, match=r"stage opening needs a finished run of t2c; add --source t2c=RUN"):
        check(ask("opening", tones, tmp_path / "run"))
    with pytest.raises(EchoxError, match=r"no training stage 'openings'; did you mean `opening`\?"):
        check(ask("openings", tones, tmp_path / "run"))


@pytest.mark.usefixtures("more_stages")
def test_tokenizers_do_not_depend_on_a_stage_without_texts_of_its_own() -> None:
    assert text_columns() == {"s2t": ("prompt", "transcript", "response"), "t2c": ("text",), "echo": ("response",)}


@pytest.mark.usefixtures("more_stages")
def test_a_stage_without_cost_figures_is_named() -> None:
    with pytest.raises(EchoxError, match="stage opening: has no cost figures"):
        costs_of("opening")
