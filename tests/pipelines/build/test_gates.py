"""Which moves of a version a person should look at."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipelines.build.gates import needs_look
from pipelines.build.statistics import DatasetStatistics
from pipelines.config.gates import GatesConfig
from storage.versions import Version
from unitlang.language.compression import CompressionStats


def version(number: int, *, hours: float = 10, rejects: int = 10, entries: int = 1000, ratio: int = 4) -> Version:
    words = 1000
    compression = CompressionStats(words * ratio, words * 2, np.array([0, 0, words]), np.array([0, 0, words]))
    statistics = DatasetStatistics(compression, 5, round(hours * 3600 * 16_000), Counter(corrupt=rejects))
    return Version(
        number=number,
        parent=None,
        steps={},
        artifacts={},
        config={},
        lineage={},
        statistics={"entries": entries, "datasets": {"a": statistics.to_dict()}},
    )


@pytest.mark.parametrize(
    ("gates", "now", "told"),
    [
        ({}, {"hours": 1000, "rejects": 900, "ratio": 1}, []),
        ({"hours": 0.5}, {"hours": 15}, []),
        ({"hours": 0.5}, {"hours": 15.1}, ["hours went from 10.000 to 15.100 since version 1 (gate 50.0%)"]),
        ({"hours": 0.5}, {"hours": 4.9}, ["hours went from 10.000 to 4.900 since version 1 (gate 50.0%)"]),
        ({"reject_ratio": 0.01}, {"rejects": 20}, []),
        (
            {"reject_ratio": 0.01},
            {"rejects": 21},
            ["reject ratio went from 1.00% to 2.10% since version 1 (gate 1.00%)"],
        ),
        ({"reject_ratio": 0.0}, {"rejects": 0}, ["reject ratio went from 1.00% to 0.00% since version 1 (gate 0.00%)"]),
        ({"compression": 0.2}, {"ratio": 3}, ["compression went from 4.000 to 3.000 since version 1 (gate 20.0%)"]),
        ({"compression": 0.25}, {"ratio": 5}, []),
    ],
)
def test_moves_beyond_a_gate_are_told(gates: dict[str, float], now: dict[str, Any], told: list[str]) -> None:
    assert needs_look(GatesConfig(**gates), version(1), version(2, **now)) == told


def with_gone(version: Version, **counts: int) -> Version:
    """A version that keeps so much of dataset `a` although no source lists it any more."""
    nothing = dict.fromkeys(("entries", "rejects", "utterances", "samples", "frames", "words"), 0)
    return replace(version, statistics={**version.statistics, "gone": {"a": {**nothing, **counts}}})


@pytest.mark.parametrize(
    ("gates", "gone", "told"),
    [
        ({"hours": 0.5}, {"entries": 9, "samples": 5 * 3600 * 16_000}, []),
        (
            {"hours": 0.5},
            {"entries": 1234, "samples": 6 * 3600 * 16_000},
            ["hours went from 10.000 to 4.000 since version 1 (gate 50.0%), without 1,234 entries that no source lists "
             "any more"],
        ),
        ({"reject_ratio": 0.01}, {"entries": 500}, []),
        (
            {"reject_ratio": 0.01},
            {"entries": 600},
            ["reject ratio went from 1.00% to 2.50% since version 1 (gate 1.00%), without 600 entries that no source "
             "lists any more"],
        ),
        (
            {"reject_ratio": 0.005},
            {"entries": 10, "rejects": 10},
            ["reject ratio went from 1.00% to 0.00% since version 1 (gate 0.50%), without 10 entries that no source "
             "lists any more"],
        ),
        (
            {"compression": 0.2},
            {"entries": 1, "frames": 3000, "words": 500},
            ["compression went from 4.000 to 2.000 since version 1 (gate 20.0%), without 1 entry that no source "
             "lists any more"],
        ),
        ({"compression": 0.2}, {"entries": 1, "frames": 2000, "words": 500}, []),
        ({"gone": 0.4}, {"entries": 2, "utterances": 2}, []),
        (
            {"gone": 0.4},
            {"entries": 3, "utterances": 3},
            ["a: 60.0% of its utterances are not listed any more since version 1 (gate 40.0%)"],
        ),
    ],
)  # fmt: skip
def test_what_no_source_lists_counts_for_no_gate(
    gates: dict[str, float], gone: dict[str, int], told: list[str]
) -> None:
    config, now = GatesConfig(**gates), with_gone(version(2), **gone)
    assert needs_look(config, version(1), now) == told
    assert needs_look(config, with_gone(version(1), **gone), now) == [], "both versions are without it"


def test_a_first_version_has_nothing_to_be_compared_with() -> None:
    assert needs_look(GatesConfig(hours=0.0, compression=0.0, reject_ratio=0.0), None, version(1)) == []
