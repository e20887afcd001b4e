"""Gates: find a version that differs too much from the last accepted one and needs approval by a person.

They compare what the sources list: entries that a version keeps although no source lists them any more do not count.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from pipelines.build.statistics import from_version, overall
from pipelines.config.gates import GatesConfig
from storage.versions import Version
from unitlang.frames import SAMPLE_RATE


@dataclass(frozen=True)
class Listed:
    """Entries that the sources of a version list.

    Attributes:
        reject_ratio: share of the entries that are rejected.
        hours: hours of speech with units.
        compression: frames per word.
        gone: share of the utterances of each dataset that the version keeps although no source lists them any more.
        gone_entries: number of entries that are kept so.
    """

    reject_ratio: float
    hours: float
    compression: float
    gone: dict[str, float]
    gone_entries: int

    @classmethod
    def of(cls, version: Version) -> Self:
        """Count what the sources of a version list.

        Raises:
            CorruptStore: the statistics are not those that a build writes.
        """
        by_dataset = from_version(version.statistics)
        whole = overall(by_dataset)
        gone_by_dataset: dict[str, dict[str, int]] = version.statistics.get("gone", {})
        gone = sum(map(Counter[str], gone_by_dataset.values()), Counter[str]())
        words = whole.compression.num_words - gone["words"]
        return cls(
            reject_ratio=(whole.rejects.total() - gone["rejects"])
            / max(1, version.statistics["entries"] - gone["entries"]),
            hours=(whole.samples - gone["samples"]) / SAMPLE_RATE / 3600,
            compression=(whole.compression.num_frames - gone["frames"]) / max(1, words),
            gone={
                name: counts["utterances"] / max(1, by_dataset[name].utterances)
                for name, counts in gone_by_dataset.items()
            },
            gone_entries=gone["entries"],
        )


def needs_look(gates: GatesConfig, before: Version | None, now: Version) -> list[str]:
    """One sentence for each gate that the new version fails; empty if there is no version to compare with.

    Args:
        gates: the largest accepted changes.
        before: the last accepted version.
        now: the version to be committed.
    """
    return [] if before is None else list(_moves(gates, before, now))


def _moves(gates: GatesConfig, before: Version, now: Version) -> Iterator[str]:
    old, new = Listed.of(before), Listed.of(now)
    since = f"since version {before.number}"
    entries = "entry" if new.gone_entries == 1 else "entries"
    left = f", without {new.gone_entries:,} {entries} that no source lists any more" if new.gone_entries else ""
    if gates.reject_ratio is not None and abs(new.reject_ratio - old.reject_ratio) > gates.reject_ratio:
        ratios = f"{old.reject_ratio:.2%} to {new.reject_ratio:.2%}"
        yield f"reject ratio went from {ratios} {since} (gate {gates.reject_ratio:.2%}){left}"
    metrics = (
        ("hours", gates.hours, old.hours, new.hours),
        ("compression", gates.compression, old.compression, new.compression),
    )
    for name, gate, was, is_ in metrics:
        if gate is not None and abs(is_ - was) > gate * was:
            yield f"{name} went from {was:,.3f} to {is_:,.3f} {since} (gate {gate:.1%}){left}"
    for name, share in new.gone.items():
        if gates.gone is not None and share - old.gone.get(name, 0.0) > gates.gone:
            yield f"{name}: {share:.1%} of its utterances are not listed any more {since} (gate {gates.gone:.1%})"
