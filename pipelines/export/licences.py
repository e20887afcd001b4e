"""Licences of an export: what its cards say of them."""

import re
from collections.abc import Iterable
from typing import Any

from pipelines.export.plan import MOST_ATTRIBUTIONS, Plan

HUB = frozenset(
    {"cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"}
    | {"cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"}
    | {"cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0"}
    | {"cdla-permissive-2.0", "c-uda", "odc-by", "odbl", "pddl", "etalab-2.0", "gfdl", "unlicense", "wtfpl"}
    | {"apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "isc", "mpl-2.0", "gpl", "gpl-2.0", "gpl-3.0"}
    | {"agpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "eupl-1.1", "eupl-1.2", "artistic-2.0", "afl-3.0", "zlib"}
)
"""Licences that the Hugging Face Hub knows, as far as data have them."""
OTHER, UNKNOWN = "other", "unknown"
"""The Hub's words for a licence that it does not know, and for none that is known."""
_URL = re.compile(
    r"(?:https?://)?(?:www\.)?creativecommons\.org/licenses/(?P<kind>[a-z-]+)/(?P<version>\d\.\d)(?:/.*)?"
)
_ZERO = re.compile(r"cc-?0|(?:https?://)?(?:www\.)?creativecommons\.org/publicdomain/zero/1\.0(?:/.*)?")


def hub_name(licence: str | None) -> str:
    """Return the Hub's name of a licence: `CC BY 4.0` and its URL are `cc-by-4.0`."""
    if licence is None:
        return UNKNOWN
    plain = licence.strip().lower()
    if _ZERO.fullmatch(plain):
        return "cc0-1.0"
    if url := _URL.fullmatch(plain):
        plain = f"cc-{url['kind']}-{url['version']}"
    name = re.sub(r"[\s_-]+", "-", plain)
    return name if name in HUB else OTHER


def front_matter(plan: Plan) -> dict[str, Any]:
    """Return the fields of a dataset card about licences; none if no licence is known."""
    if not any(plan.licences):
        return {}
    names = sorted({hub_name(licence) for licence in plan.licences})
    others = [licence for licence in plan.licences if licence and hub_name(licence) == OTHER]
    return {
        "license": names[0] if len(names) == 1 else names,
        **({"license_name": others[0]} if len(others) == 1 else {}),
    }


def stated(plan: Plan) -> list[str]:
    """The known licences, as the sources state them."""
    return sorted(licence for licence in plan.licences if licence)


def attributions(plan: Plan) -> Iterable[str]:
    """Yield the lines of a list of those whom the licences want named."""
    for name in plan.attributions[:MOST_ATTRIBUTIONS]:
        yield f"- {' '.join(name.split())}"
    if len(plan.attributions) > MOST_ATTRIBUTIONS:
        yield "- and others; the column `attribution` has all"
