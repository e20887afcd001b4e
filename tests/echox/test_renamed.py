"""Old names of fields are read, with a warning that names the new one."""

import logging

import pytest

from echox.errors import EchoxError
from echox.renamed import rename_fields, rename_path, warn_renamed


@pytest.fixture(autouse=True)
def warnings_again() -> None:
    """Each warning comes once in a process."""
    warn_renamed.cache_clear()


def test_fields_are_renamed_however_deep(caplog: pytest.LogCaptureFixture) -> None:
    values = {"width": 3, "layers": [{"feed_forward": 4, "width": 5}], "name": "width"}
    expected = {"hidden_size": 3, "layers": [{"intermediate_size": 4, "hidden_size": 5}], "name": "width"}
    assert rename_fields(values, "a.yaml") == expected
    assert [record.getMessage() for record in caplog.records] == [
        "a.yaml: width is now called hidden_size; the old name will be refused in the next release",
        "a.yaml: feed_forward is now called intermediate_size; the old name will be refused in the next release",
    ]
    assert values["width"] == 3, "what was given stays"


def test_what_a_program_wrote_is_read_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert rename_fields({"data": {"batch_length": 1}}) == {"data": {"max_tokens": 1}}
    assert not caplog.records


def test_paths_are_renamed(caplog: pytest.LogCaptureFixture) -> None:
    assert rename_path("data.held_out", "--set data.held_out=0.1") == "data.valid_fraction"
    assert rename_path("data.max_length", "--set data.max_length=9") == "data.max_length"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "data.held_out is now called data.valid_fraction" in caplog.text


def test_both_names_at_once_are_refused() -> None:
    with pytest.raises(EchoxError, match=r"training: preset is the old name of architecture; give architecture alone"):
        rename_fields({"preset": "tiny", "architecture": "tiny"}, "training")
