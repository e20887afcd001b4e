from typing import Any

import pytest

from pipelines.readers.rows.rights import get_rights

NOTHING = dict.fromkeys(("licence", "attribution", "consent", "source_url"))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"license": " CC0 "}, {"licence": "CC0"}),
        ({"License Name": "MIT"}, {"licence": "MIT"}),
        ({"license_url": "https://a/b", "licence": "CC0"}, {"licence": "CC0"}),
        ({"licence": None, "rights": "mine"}, {"licence": "mine"}),
        ({"credits": ["A", " B ", ""]}, {"attribution": "A; B"}),
        ({"copyright": 2001}, {"attribution": "2001"}),
        ({"consent": False}, {"consent": "false"}),
        ({"consent_id": 17}, {"consent": "17"}),
        ({"license": {"name": "CC0"}}, {"licence": '{"name": "CC0"}'}),
        ({"license": "a\udc00"}, {"licence": '"a\\udc00"'}),
        ({"license": "a\0"}, {"licence": '"a\\u0000"'}),
        ({"url": "https://u:p@a/b?token=x"}, {"source_url": "https://***@a/b?token=***"}),
        ({"url": "https://a/b", "source_url": "https://c"}, {"source_url": "https://c"}),
        ({"license": float("nan"), "url": "", "credit": [], "rights": "  "}, {}),
        ({"licensee": "x", "driving_license_plate": "x", "audio_url": "x"}, {}),
    ],
)
def test_facts_come_from_columns_of_usual_names(record: dict[str, Any], said: dict[str, str]) -> None:
    assert get_rights(record) == NOTHING | said


def test_the_first_record_that_says_it_counts() -> None:
    found = get_rights({"license": "of the turn"}, {"license": "of the dialogue", "credit": "of the dialogue"})
    assert found == NOTHING | {"licence": "of the turn", "attribution": "of the dialogue"}
