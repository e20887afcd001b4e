"""The facts of a corpus version as JSON values: what `echox inspect --json` prints, and what tables and page show."""

import json
from typing import Any

from pipelines.build.statistics import DatasetStatistics, from_manifest, overall
from pipelines.engine.rejects import examples
from storage.approvals import approver, status
from storage.artifacts import CARD
from storage.manifests import Manifest
from storage.store import Store
from unitlang.frames import SAMPLE_RATE

Facts = dict[str, Any]

EXAMPLES_OF_A_REASON = 3


def facts(store: Store, manifest: Manifest) -> Facts:
    """All facts of a version."""
    datasets = from_manifest(manifest.statistics)
    total = overall(datasets)
    made_with = definition(store, manifest)
    learnt = learnt_from(manifest, total.samples, made_with["sample_hours"])
    return {
        "store": manifest.store,
        "version": manifest.version,
        "parent": manifest.parent,
        "created": manifest.created,
        "status": status(store, manifest),
        "review": manifest.review,
        "approved_by": approver(store, manifest),
        "made_with": made_with,
        "entries": manifest.statistics["entries"],
        **dataset_facts(total),
        "compression_note": compression_note(total.hours, learnt),
        "learnt_from": learnt,
        "datasets": {name: dataset_facts(statistics) for name, statistics in datasets.items()},
        "reject_examples": reject_examples(store, manifest),
        "examples": manifest.statistics["examples"],
        "unused": manifest.statistics["unused"],
        "lineage": lineage(manifest),
    }


def summary(store: Store, manifest: Manifest) -> Facts:
    """The few facts that tell a version from the others."""
    total = overall(from_manifest(manifest.statistics))
    made_with = definition(store, manifest)
    return {
        "version": manifest.version,
        "created": manifest.created,
        "status": status(store, manifest),
        "hours": total.hours,
        "utterances": total.utterances,
        "total_ratio": total.compression.total_ratio,
        "k": made_with["k"],
        "vocab_size": made_with["vocab_size"],
        "artifacts": {name: ref.fingerprint for name, ref in manifest.artifacts.items()},
    }


def definition(store: Store, manifest: Manifest) -> Facts:
    """What defines the corpus: features, units, words; from the cards of its quantizer and unit language."""
    cards = {name: json.loads(store.get(f"{ref.path}/{CARD}")) for name, ref in manifest.artifacts.items()}
    quantizer, language = cards["quantizer"], cards["unit_language"]
    return {
        "features": quantizer["features"],
        "k": quantizer["k"],
        "centroids": quantizer["fitted"].get("centroids"),
        "algorithm": language["config"]["algorithm"],
        "requested_vocab_size": language["requested_vocab_size"],
        "vocab_size": language["vocab_size"],
        "max_word_units": language["config"]["max_word_units"],
        "sample_hours": language["config"]["sample_hours"],
    }


def dataset_facts(statistics: DatasetStatistics) -> Facts:
    """Hours, utterances, rejects and compression."""
    compression = statistics.compression
    return {
        "hours": statistics.hours,
        "utterances": statistics.utterances,
        "rejects": dict(sorted(statistics.rejects.items())),
        "compression": {
            "total_ratio": compression.total_ratio,
            "dedup_ratio": compression.dedup_ratio,
            "unit_language_ratio": compression.unit_language_ratio,
            "frames_per_second": compression.frames_per_second,
            "runs_per_second": compression.runs_per_second,
            "words_per_second": compression.words_per_second,
            "bits_per_word": compression.bits_per_word,
            "bits_per_second": compression.bits_per_second,
            "vocabulary_use": compression.vocabulary_use,
            "word_lengths": [int(count) for count in compression.word_length_histogram],
        },
    }


def learnt_from(manifest: Manifest, samples: int, sample_hours: float) -> Facts | None:
    """Which speech the unit language was learnt from, and how much came later; None where the manifest does not tell.

    Args:
        manifest: the version.
        samples: speech in it, in samples at 16 kHz.
        sample_hours: speech at most that the unit language is learnt from.
    """
    came = manifest.lineage.get("came_with", {}).get("unit_language")
    if came is None:
        return None
    return {
        "version": came["version"],
        "hours": min(sample_hours, came["samples"] / SAMPLE_RATE / 3600),
        "hours_added_since": max(0, samples - came["samples"]) / SAMPLE_RATE / 3600,
    }


def compression_note(hours: float, learnt: Facts | None) -> str:
    """What the compression was measured on, and what the unit language was learnt from."""
    measured = f"Measured on the whole corpus ({hours:,.3f} h)."
    unknown = "Speech that the unit language was not learnt from may be compressed less."
    if learnt is None:
        return f"{measured} An older program made it and left untold what the unit language was learnt from. {unknown}"
    from_ = f"The unit language was learnt from {learnt['hours']:,.3f} h of this corpus (version {learnt['version']})"
    if learnt["hours_added_since"]:
        from_ += (
            f"; {learnt['hours_added_since']:,.3f} h were added since and not learnt from "
            "(`refit: true` in the config learns anew)"
        )
    return f"{measured} {from_}. {unknown}"


def reject_examples(store: Store, manifest: Manifest) -> dict[str, list[dict[str, str]]]:
    """Some rejects of every reason."""
    receipts = [receipt for step in sorted(manifest.steps) for receipt in manifest.steps[step]]
    found = examples(store, receipts, EXAMPLES_OF_A_REASON)
    return {reason: found[reason] for reason in sorted(found)}


def lineage(manifest: Manifest) -> Facts:
    """What the version was made from and with."""
    return {
        "artifacts": {name: ref.fingerprint for name, ref in sorted(manifest.artifacts.items())},
        "features": manifest.config["features"],
        "quantizer": manifest.config["quantizer"],
        "unit_language": manifest.config["unit_language"],
        "sources": manifest.config["sources"],
        "work_units": {step: len(receipts) for step, receipts in sorted(manifest.steps.items())},
        "packages": manifest.lineage["versions"],
    }
