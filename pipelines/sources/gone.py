"""The message of a build that refuses to go on without entries that its sources do not list any more."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pipelines.readers.base import Gone

SHOWN = 3
"""Examples of gone entries in a message."""


def are_gone(failing: Counter[str], examples: Sequence[str], policies: Mapping[str, Gone]) -> str:
    """The message of a build that refuses to go on without entries."""
    counts = ", ".join(f"{count:,} of {dataset}" for dataset, count in sorted(failing.items()))
    shown = ", ".join(examples[:SHOWN])
    if absent := sorted(failing.keys() - policies.keys()):
        remedy = f"no source has the dataset {', '.join(absent)}; bring it back, or set `gone: keep` or `gone: remove`"
    else:
        remedy = "bring them back, or set `gone: keep` or `gone: remove` of the source"
    return f"sources: entries of the corpus are not listed any more: {counts} (for instance {shown}); {remedy}"
