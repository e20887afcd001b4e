"""The last act of a build: accounts, statistics, and the manifest that makes the new version visible."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.build.statistics import from_manifest, gather, overall
from pipelines.engine.step import Task
from pipelines.errors import UserError
from pipelines.steps.fit_unit_language import load_unit_language
from pipelines.steps.ingest import Known
from storage.artifacts import ArtifactRef
from storage.manifests import Manifest
from storage.receipts import Receipt
from storage.store import Store

COUNTED = ("ingest", "quantize", "encode")

Receipts = Mapping[str, Sequence[Receipt]]


def check_accounts(steps: Receipts) -> None:
    """Every utterance that left a step entered the next one.

    Raises:
        AssertionError: when one was lost or doubled; a bug, never the user's mistake.
    """
    spoken = sum(counts["utterances"] for r in steps["ingest"] for counts in r.stats["datasets"].values())
    flows = (
        ("quantize", spoken, _rows(steps["quantize"], "rows_in")),
        ("encode", _rows(steps["quantize"], "rows_out"), _rows(steps["encode"], "rows_in")),
        ("shard", _rows(steps["ingest"], "rows_out"), _rows(steps["shard"], "rows_in")),
    )
    for step, expected, found in flows:
        if expected != found:
            raise AssertionError(f"step {step} saw {found} utterances, the step before gave {expected}")


def check_nothing_left_out(store: Store, parent: Manifest, tasks: Sequence[Task]) -> None:
    """Refuse to plan a corpus anew from sources that no longer list all that its last version holds.

    Raises:
        UserError: nothing committed is ever lost.
    """
    lines = (line for task in tasks for line in store.get(task.payload["path"]).splitlines())
    left_out = Known(store, parent).keys - {bytes.fromhex(json.loads(line)["key"]) for line in lines}
    if left_out:
        raise UserError(
            f"work_units: with other work units all speech is ingested anew, but the sources no longer list "
            f"{len(left_out)} entries of version {parent.version} as they were; undo the change, bring the sources "
            "back, or build into a new store"
        )


def assemble(
    store: Store,
    parent: Manifest | None,
    *,
    steps: dict[str, list[Receipt]],
    artifacts: dict[str, ArtifactRef],
    config: dict[str, Any],
    lineage: dict[str, Any],
) -> Manifest:
    """The manifest of the next version, with its statistics."""
    language = load_unit_language(store, artifacts["unit_language"].fingerprint)
    old = {step: {r.fingerprint for r in parent.steps[step]} if parent else set[str]() for step in COUNTED}
    grown = parent is not None and all(
        old[step] <= {receipt.fingerprint for receipt in steps[step]} for step in COUNTED
    )
    base = from_manifest(parent.statistics) if parent and grown else {}
    new = {step: [r for r in steps[step] if not grown or r.fingerprint not in old[step]] for step in COUNTED}
    datasets = gather(store, new, language, base)
    version = parent.version + 1 if parent else 1
    return Manifest(
        version=version,
        parent=parent.version if parent else None,
        steps=steps,
        artifacts=artifacts,
        config=config,
        lineage=lineage | {"came_with": came_with(parent, artifacts, version, overall(datasets).samples)},
        statistics={
            "entries": _rows(steps["ingest"], "rows_in"),
            "datasets": {name: statistics.to_dict() for name, statistics in datasets.items()},
            "examples": _sum(receipt.stats["examples"] for receipt in steps["shard"]),
            "unused": _sum(receipt.stats["unused"] for receipt in steps["shard"]),
        },
    )


def came_with(
    parent: Manifest | None, artifacts: Mapping[str, ArtifactRef], version: int, samples: int
) -> dict[str, dict[str, int]]:
    """By artifact, the version that it came with, and how much speech (samples at 16 kHz) that version held.

    A version must not depend on the files of others, so what is kept is written down again. A parent of an older
    program may not tell.
    """
    told: dict[str, dict[str, int]] = {}
    for name, ref in artifacts.items():
        if parent is None or parent.artifacts.get(name) != ref:
            told[name] = {"version": version, "samples": samples}
        elif name in parent.lineage.get("came_with", {}):
            told[name] = parent.lineage["came_with"][name]
    return told


def _rows(receipts: Sequence[Receipt], name: str) -> int:
    return sum(getattr(receipt, name) for receipt in receipts)


def _sum(counts: Any) -> dict[str, int]:
    return dict(sorted(sum((Counter(part) for part in counts), Counter[str]()).items()))
