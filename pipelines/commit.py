"""The last act of a build: accounts, statistics, and the manifest that makes the new version visible."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from pipelines.errors import UserError
from pipelines.fit_unit_language import load_unit_language
from pipelines.ingest import Known
from pipelines.statistics import from_manifest, gather
from pipelines.step import Task
from storage.artifacts import ArtifactRef
from storage.manifests import Manifest
from storage.receipts import Receipt
from storage.store import Store
from storage.tables import read_table

SHOWN_REJECTS = 5
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


def check_rejects(store: Store, steps: Receipts, max_ratio: float) -> None:
    """Refuse a corpus of which too much was rejected.

    Raises:
        UserError: with the reasons and some examples.
    """
    entries = _rows(steps["ingest"], "rows_in")
    receipts = list(chain.from_iterable(steps.values()))
    rejects = sum((Counter(receipt.rejects) for receipt in receipts), Counter[str]())
    if not entries or rejects.total() <= max_ratio * entries:
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in rejects.most_common())
    raise UserError(
        f"max_reject_ratio: {rejects.total()} of {entries} entries were rejected "
        f"({rejects.total() / entries:.1%}, allowed {max_ratio:.1%}): {reasons}\n{_examples(store, receipts)}"
        "Nothing was committed. Mend the sources, or raise max_reject_ratio (0 to 1)."
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
    return Manifest(
        version=parent.version + 1 if parent else 1,
        parent=parent.version if parent else None,
        steps=steps,
        artifacts=artifacts,
        config=config,
        lineage=lineage,
        statistics={
            "entries": _rows(steps["ingest"], "rows_in"),
            "datasets": {name: statistics.to_dict() for name, statistics in datasets.items()},
            "examples": _sum(receipt.stats["examples"] for receipt in steps["shard"]),
            "unused": _sum(receipt.stats["unused"] for receipt in steps["shard"]),
        },
    )


def _rows(receipts: Sequence[Receipt], name: str) -> int:
    return sum(getattr(receipt, name) for receipt in receipts)


def _sum(counts: Any) -> dict[str, int]:
    return dict(sorted(sum((Counter(part) for part in counts), Counter[str]()).items()))


def _examples(store: Store, receipts: Sequence[Receipt]) -> str:
    """The first few rejects, a line each."""
    lines: list[str] = []
    for file in (file for receipt in receipts for file in receipt.files if file.table == "rejects"):
        for row in read_table(store, file.path, ["source", "reason", "message"]).to_pylist():
            lines.append(f"  {row['source']}: {row['message']} [{row['reason']}]\n")
            if len(lines) == SHOWN_REJECTS:
                return "".join(lines)
    return "".join(lines)
