import pytest

from pipelines.export.licences import attributions, front_matter, hub_name, stated
from pipelines.export.plan import MOST_ATTRIBUTIONS, Plan


@pytest.mark.parametrize(
    ("licence", "name"),
    [
        ("CC BY 4.0", "cc-by-4.0"),
        ("cc_by-nc_sa 3.0", "cc-by-nc-sa-3.0"),
        ("https://creativecommons.org/licenses/by-nd/4.0/deed.de", "cc-by-nd-4.0"),
        ("http://www.creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("CC-0", "cc0-1.0"),
        ("CC-BY", "other"),
        ("All rights reserved", "other"),
        ("https://creativecommons.org/licenses/by/9.0/", "other"),
        (None, "unknown"),
    ],
)
def test_the_hub_has_names_for_licences(licence: str | None, name: str) -> None:
    assert hub_name(licence) == name


def test_a_card_names_one_licence_several_or_none() -> None:
    one, mixed, none = (Plan((), {}, dict.fromkeys(names, 1), (), {}) for names in (["MIT"], ["x", None], [None]))
    assert front_matter(one) == {"license": "mit"}
    assert front_matter(mixed) == {"license": ["other", "unknown"], "license_name": "x"}
    assert (front_matter(none), stated(none), stated(mixed)) == ({}, [], ["x"])


def test_the_list_of_attributions_is_bounded() -> None:
    names = tuple(f"name\n{number}" for number in range(MOST_ATTRIBUTIONS + 1))
    lines = [*attributions(Plan((), {}, {}, names, {}))]
    assert (len(lines), lines[0]) == (MOST_ATTRIBUTIONS + 1, "- name 0")
    assert lines[-1] == "- and others; the column `attribution` has all"
