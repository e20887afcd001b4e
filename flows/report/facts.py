"""The facts of a corpus version, for `echox inspect --json`, the tables and the page."""

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from pydantic import TypeAdapter

from flows.report.records import (
    CompressionFacts,
    DatasetFacts,
    Definition,
    Facts,
    GridFacts,
    LanguageFacts,
    LearntFrom,
    Lineage,
    QuantizerFacts,
    SharedAudioFacts,
    VersionSummary,
)
from pipelines.build.statistics import DatasetStatistics, from_version, overall
from pipelines.engine.rejects import examples
from pipelines.records import SharedAudio, check_made, left_out_of, statistics_of
from pipelines.steps import table_steps
from storage.approvals import approver, status
from storage.artifacts import CARD, read_card
from storage.labels.kept import label_names
from storage.receipts import Receipt
from storage.records import typed
from storage.store import Store
from storage.versions import Version
from unitlang.frames import SAMPLE_RATE
from unitlang.language.compression import CompressionStats

EXAMPLES_OF_A_REASON = 3
OLD_GRID: GridFacts = {"hop": 320, "view": 400}
"""Grid of quantizers whose card has none: only extractors with this one existed then."""
UNRECORDED = "not recorded"
"""Revision of a work unit whose receipt does not state one."""
T = TypeVar("T")
_QUANTIZER = "quantizer", TypeAdapter(QuantizerFacts)
_LANGUAGE = "unit_language", TypeAdapter(LanguageFacts)


def facts(store: Store, version: Version) -> Facts:
    """Return all facts of a version.

    Raises:
        StorageError: the store refuses, or a file of the version is missing.
    """
    datasets = from_version(check_made(store, version).statistics)
    total = overall(datasets)
    made_with = definition(store, version)
    learnt = learnt_from(version, total.samples, made_with["sample_hours"])
    return {
        "store": version.store,
        "version": version.number,
        "parent": version.parent,
        "created": version.created,
        "status": status(store, version),
        "review": version.review,
        "approved_by": approver(store, version),
        "made_with": made_with,
        "entries": version.statistics["entries"],
        **dataset_facts(total),
        "compression_note": compression_note(total.hours, learnt),
        "learnt_from": learnt,
        "datasets": {name: dataset_facts(statistics) for name, statistics in datasets.items()},
        "reject_examples": reject_examples(store, version),
        "examples": version.statistics.get("examples", {}),
        "unused": version.statistics.get("unused", {}),
        "shared_audio": shared_audio(version),
        "lineage": lineage(version),
    }


def summary(store: Store, version: Version) -> VersionSummary:
    """Return the facts that distinguish a version from the others.

    Raises:
        StorageError: the store refuses, or a file of the version is missing.
    """
    total = overall(from_version(check_made(store, version).statistics))
    made_with = definition(store, version)
    return {
        "version": version.number,
        "created": version.created,
        "status": status(store, version),
        "hours": total.hours,
        "utterances": total.utterances,
        "ratios": {
            "frames/words": total.compression.total_ratio,
            "frames/runs": total.compression.dedup_ratio,
            "runs/words": total.compression.unit_language_ratio,
        },
        "total_ratio": total.compression.total_ratio,
        "features": made_with["features"],
        "k": made_with["k"],
        "algorithm": made_with["algorithm"],
        "vocab_size": made_with["vocab_size"],
        "max_word_units": made_with["max_word_units"],
        "artifacts": _fingerprints(version),
        "labels": len(label_names(store, version.number)),
    }


def definition(store: Store, version: Version) -> Definition:
    """Read what defines units and words from the cards of the quantizer and the unit language.

    Raises:
        StorageError: a card is missing.
    """
    quantizer, language = _card(store, version, _QUANTIZER), _card(store, version, _LANGUAGE)
    return {
        "features": quantizer["features"],
        "grid": quantizer.get("grid", OLD_GRID),
        "k": quantizer["k"],
        "centroids": quantizer["fitted"].get("centroids"),
        "algorithm": language["config"]["algorithm"],
        "requested_vocab_size": language["requested_vocab_size"],
        "vocab_size": language["vocab_size"],
        "max_word_units": language["config"]["max_word_units"],
        "sample_hours": language["config"]["sample_hours"],
    }


def _card(store: Store, version: Version, card: tuple[str, TypeAdapter[T]]) -> T:
    """The fields of a card that are shown; others may be there."""
    kind, fields = card
    artifact = version.artifact(kind)
    return typed(fields, read_card(store, kind, artifact.fingerprint), store.url(f"{artifact.path}/{CARD}"))


def dataset_facts(statistics: DatasetStatistics) -> DatasetFacts:
    """Return hours, utterances, licences, rejects and compression of a dataset."""
    return {
        "hours": statistics.hours,
        "utterances": statistics.utterances,
        "licences": statistics.licence_hours,
        "rejects": dict(sorted(statistics.rejects.items())),
        "compression": _compression_facts(statistics.compression),
    }


def _compression_facts(compression: CompressionStats) -> CompressionFacts:
    return {
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
    }


def learnt_from(version: Version, samples: int, sample_hours: float) -> LearntFrom | None:
    """Return what speech the unit language was learnt from; None where an old version does not record it.

    Args:
        version: the version.
        samples: speech in it, in samples at 16 kHz.
        sample_hours: speech at most that the unit language is learnt from.
    """
    came = version.lineage.get("came_with", {}).get("unit_language")
    if came is None:
        return None
    elsewhere = "corpus" in came
    known = 0 if elsewhere else came["samples"]
    learnt: LearntFrom = {
        "version": came["version"],
        "hours": min(sample_hours, came["samples"] / SAMPLE_RATE / 3600),
        "hours_added_since": max(0, samples - known) / SAMPLE_RATE / 3600,
    }
    if "corpus" in came:
        learnt["corpus"] = came["corpus"]
    return learnt


def compression_note(hours: float, learnt: LearntFrom | None) -> str:
    """Return a note on what the compression was measured on, and what the unit language was learnt from."""
    measured = f"Measured on the whole corpus ({hours:,.3f} h)."
    unknown = "Speech that the unit language was not learnt from may be compressed less."
    if learnt is None:
        return f"{measured} The version does not record what the unit language was learnt from. {unknown}"
    if "corpus" in learnt:
        place = f"{learnt['corpus']}@{learnt['version']}"
        return f"{measured} The unit language was learnt from {learnt['hours']:,.3f} h of {place}. {unknown}"
    source = f"The unit language was learnt from {learnt['hours']:,.3f} h of this corpus (version {learnt['version']})"
    if learnt["hours_added_since"]:
        source += (
            f"; {learnt['hours_added_since']:,.3f} h were added since and not learnt from "
            "(`refit: true` in the config fits it anew)"
        )
    return f"{measured} {source}. {unknown}"


def shared_audio(version: Version) -> list[SharedAudioFacts] | None:
    """Return the utterances with equal audio by pairs of datasets; None where an old version does not record them."""
    pairs: list[SharedAudio] | None = version.statistics.get("shared_audio")
    if pairs is None:
        return None
    return [
        {
            "datasets": pair["datasets"],
            "utterances": pair["utterances"],
            "hours": pair["samples"] / SAMPLE_RATE / 3600,
        }
        for pair in pairs
    ]


def reject_examples(store: Store, version: Version) -> dict[str, list[dict[str, str]]]:
    """Return some rejects of every reason.

    Raises:
        StorageError: a file of rejects is missing.
    """
    receipts = [receipt for step in sorted(version.steps) for receipt in version.steps[step]]
    found = examples(store, receipts, EXAMPLES_OF_A_REASON)
    return {reason: found[reason] for reason in sorted(found)}


def lineage(version: Version) -> Lineage:
    """Return what the version was made from and with."""
    return {
        "artifacts": dict(sorted(_fingerprints(version).items())),
        "features": version.config["features"],
        "quantizer": version.config["quantizer"],
        "unit_language": version.config["unit_language"],
        "sources": version.config["sources"],
        "work_units": {step: len(receipts) for step, receipts in sorted(version.steps.items())},
        "suppressed": left_out_of(version),
        "not_run": [name for name in table_steps() if name not in version.steps],
        "revisions": {step: _revisions(receipts) for step, receipts in sorted(version.steps.items())},
        "packages": dict(sorted(version.lineage["versions"].items())),
    }


def _revisions(receipts: Iterable[Receipt]) -> dict[str, int]:
    """Number of work units by the revision that made them."""
    revisions = (str(statistics_of(receipt).get("revision", UNRECORDED)) for receipt in receipts)
    return dict(sorted(Counter(revisions).items()))


def _fingerprints(version: Version) -> dict[str, str]:
    return {name: ref.fingerprint for name, ref in version.artifacts.items()}
