"""Architectures by name and from files."""

from pathlib import Path

import pytest
import yaml

from echox.architectures import ARCHITECTURES, dump_architecture, load_architecture
from echox.errors import EchoxError


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_survives_its_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "architecture.yaml"
    path.write_text(yaml.safe_dump(dump_architecture(ARCHITECTURES[name])))
    assert load_architecture(str(path)) == load_architecture(name) == ARCHITECTURES[name]


def test_vocabularies_reach_every_part() -> None:
    found = ARCHITECTURES["tiny"].with_vocabularies(text=300, words=77)
    assert (found.llm.vocabulary, found.t2c.text_vocabulary, found.t2c.words) == (300, 300, 77)


def test_neither_a_name_nor_a_file() -> None:
    with pytest.raises(EchoxError, match="'echox-9b': neither a file nor one of tiny, echox-3b, echox-8b"):
        load_architecture("echox-9b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("llm", "tide", True), r"llm\.tide: Unexpected keyword argument"),
        (("llm", "trainable", "some"), r"llm\.trainable: Input should be 'lora' or 'all'"),
        (("encoder", "heads", 7), r"encoder: .*heads \(7\) must divide it"),
        (("t2c", "text_hidden_size", 12), r"t2c\.text_hidden_size and t2c\.text_vocabulary: must be"),
    ],
)
def test_faults_are_named_by_their_field(change: tuple[str, str, object], message: str, tmp_path: Path) -> None:
    part, field, value = change
    plain = dump_architecture(ARCHITECTURES["tiny"])
    plain[part][field] = value
    path = tmp_path / "architecture.yaml"
    path.write_text(yaml.safe_dump(plain))
    with pytest.raises(EchoxError, match=message):
        load_architecture(str(path))


def test_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "architecture.yaml"
    path.write_text("a: [")
    with pytest.raises(EchoxError, match="not a YAML file"):
        load_architecture(str(path))


def test_a_file_with_old_names_is_read_with_warnings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = yaml.safe_dump(dump_architecture(ARCHITECTURES["echox-3b"]))
    old = text.replace("text_hidden_size:", "text_width:").replace("hidden_size:", "width:")
    old = old.replace("intermediate_size:", "feed_forward:")
    path = tmp_path / "architecture.yaml"
    path.write_text(old)
    assert load_architecture(str(path)) == ARCHITECTURES["echox-3b"]
    for names in (("width", "hidden_size"), ("feed_forward", "intermediate_size"), ("text_width", "text_hidden_size")):
        assert f"{path}: {names[0]} is now called {names[1]};" in caplog.text
