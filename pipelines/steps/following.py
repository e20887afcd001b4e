"""Compare what the sources list with what the last version holds, so that only what differs is computed.

Work units of `ingest` without a difference stay. In the others, groups of entries are replaced or removed. New groups
make new work units.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pipelines.engine.state import EntryChanges
from pipelines.errors import UserError
from pipelines.readers.base import BadItem, Gone, digest16
from pipelines.steps.audio_files import contents
from pipelines.steps.entries import Entry, Group, Signature, described, signature, stated, to_line
from pipelines.steps.holdings import READERS, Held, Holdings, Lines
from pipelines.steps.roots import Roots
from unitlang.ahead import run_ahead

AUDIO = ("uri", "offset_samples", "num_samples", "native", "channel")
"""Fields of an entry that say which audio it has."""
SHOWN = 3
"""Examples of gone entries in a message."""


@dataclass(frozen=True)
class Look:
    """A group about which nothing else is said than before, but whose files may have been replaced."""

    held: Held
    group: Group
    signatures: Sequence[Signature | None]


class Following:
    """Compares the sources with a version, in the order `new`, `look`, `leave_out`.

    Args:
        holdings: what the version holds; receives the changes of its work units.
        roots: roots of the datasets.
        rehash: read all audio files again, whatever their signatures say.

    Attributes:
        by_dataset: counts of entries.
    """

    def __init__(self, holdings: Holdings, roots: Roots, *, rehash: bool = False) -> None:
        self.by_dataset = defaultdict[str, EntryChanges](EntryChanges)
        self._holdings = holdings
        self._missing = dict(holdings.groups)
        self._roots = roots
        self._rehash = rehash
        self._looks: list[Look] = []

    @property
    def changes(self) -> EntryChanges:
        """Counts of all entries."""
        return sum(self.by_dataset.values(), EntryChanges())

    def new(self, groups: Iterable[Group]) -> Iterator[Lines]:
        """Yield the lines of groups that the version does not hold; note which others differ."""
        for group in groups:
            held = self._missing.pop(group.name, None)
            lines = self._lines(group)
            changes = self.by_dataset[_dataset(group)]
            if held is None:
                changes.new += len(lines.lines)
                changes.rejected += _broken(group)
                yield lines
            elif not self._says_the_same(held, group):
                self._change(held, group, lines, same_audio=self._has_the_same_audio(held, lines))
            else:
                changes.kept += held.count
                self._compare_signatures(held, group, lines.signatures)

    def _lines(self, group: Group, marks: Sequence[str | None] | None = None) -> Lines:
        marks = marks or [None] * len(group.entries)
        values = [self._described(entry) for entry in group.entries]
        lines = [to_line(entry, mark) for entry, mark in zip(values, marks, strict=True)]
        return Lines(lines, [signature(entry) for entry in group.entries])

    def _described(self, entry: Entry) -> dict[str, object]:
        return described(entry, self._roots.get(entry.dataset))

    def _says_the_same(self, held: Held, group: Group) -> bool:
        """Compare with what is stored, also in the form of older programs: absolute paths, and sizes of files."""
        return held.stated in (
            stated(map(self._described, group.entries)),
            stated(entry.stated() for entry in group.entries),
        )

    def _change(self, held: Held, group: Group, lines: Lines, *, same_audio: bool) -> None:
        """Replace a group by what its source says now, and count its entries."""
        changes = self.by_dataset[_dataset(group)]
        changes.changed += len(lines.lines)
        changes.rejected += _broken(group)
        if rejected := 0 if _broken(group) else self._holdings.rejected(held):
            changes.healed += min(rejected, len(lines.lines))
        elif same_audio:
            changes.mended += len(lines.lines)
        self._replace(held, lines)

    def _has_the_same_audio(self, held: Held, lines: Lines) -> bool:
        """Whether the new lines name the same audio as the old ones, in files that look the same."""
        before, after = ([_audio(line) for line in of] for of in (self._holdings.lines(held), lines.lines))
        return before == after and self._holdings.signatures(held) == list(lines.signatures)

    def _replace(self, held: Held, lines: Lines | None) -> None:
        self._holdings.chunks[held.chunk].changed[held] = lines

    def _compare_signatures(self, held: Held, group: Group, signatures: Sequence[Signature | None]) -> None:
        older = self._holdings.chunks[held.chunk].older
        if older and not self._rehash and held.stated == stated(entry.stated() for entry in group.entries):
            self._holdings.sign(held, signatures)  # the size was a part of what is said
        elif self._rehash or self._holdings.signatures(held) != list(signatures):
            self._looks.append(Look(held, group, signatures))

    def look(self) -> None:
        """Read the files that may have been replaced; entries whose audio has other contents are replaced.

        A file that cannot be read is that of a gone entry: its row stays.
        """
        known: dict[int, dict[str, str]] = {}
        reads = (partial(contents, look.group.entries) for look in self._looks)
        for look, found in zip(self._looks, run_ahead(reads, threads=READERS, depth=2 * READERS), strict=True):
            number = look.held.chunk
            if number not in known:
                known = {number: self._holdings.checksums(self._holdings.chunks[number])}
            lines = [json.loads(line) for line in self._holdings.lines(look.held)]
            before = [line.get("content") or known[number].get(line["key"]) for line in lines]
            marks = [old if now is None else now for old, now in zip(before, found, strict=True)]
            if marks == before:
                self._holdings.sign(look.held, look.signatures)
                continue
            self.by_dataset[_dataset(look.group)].kept -= look.held.count
            self._change(look.held, look.group, self._lines(look.group, marks), same_audio=False)

    def leave_out(self, policies: Mapping[str, Gone], default: Gone, ids: set[bytes]) -> None:
        """Decide what becomes of the groups that no source lists any more; broken entries go in any case.

        Args:
            policies: policy of each dataset in the config.
            default: policy of all other datasets.
            ids: digests of the utterance ids that the sources list; a gone entry with such an id goes.

        Raises:
            UserError: a policy is `fail`; the message has numbers and examples.
        """
        failing: Counter[str] = Counter()
        examples: list[str] = []
        for held in self._missing.values():
            items = [json.loads(line)["item"] for line in self._holdings.lines(held)]
            dataset = self._holdings.renamed.get(items[0]["dataset"], items[0]["dataset"])
            changes = self.by_dataset[dataset]
            names = [item["utterance_id"] for item in items if item["utterance_id"]]
            policy = "remove" if held.bad else policies.get(dataset, default)
            if policy == "fail":
                failing[dataset] += held.count
                examples += names[:1]
            elif policy == "keep" and not any(digest16(name) in ids for name in names):
                changes.gone += held.count
            else:
                changes.removed += held.count
                self._replace(held, None)
        if failing:
            raise UserError(_are_gone(failing, examples, policies))


def _dataset(group: Group) -> str:
    return group.entries[0].dataset


def _broken(group: Group) -> int:
    """Number of entries that their source shows to be broken."""
    return sum(isinstance(entry, BadItem) for entry in group.entries)


def _audio(line: str) -> tuple[object, ...]:
    """What a line says about the audio of its entry."""
    item = json.loads(line)["item"]
    return tuple(item.get(name) for name in AUDIO)


def _are_gone(failing: Counter[str], examples: Sequence[str], policies: Mapping[str, Gone]) -> str:
    """The message of a build that refuses to go on without entries."""
    counts = ", ".join(f"{count:,} of {dataset}" for dataset, count in sorted(failing.items()))
    shown = ", ".join(examples[:SHOWN])
    if absent := sorted(failing.keys() - policies.keys()):
        remedy = f"no source has the dataset {', '.join(absent)}; bring it back, or set `gone: keep` or `gone: remove`"
    else:
        remedy = "bring them back, or set `gone: keep` or `gone: remove` of the source"
    return f"sources: entries of the corpus are not listed any more: {counts} (for instance {shown}); {remedy}"
