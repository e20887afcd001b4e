"""Compare what the sources list with what the last version holds, so that only what differs is computed.

Work units of `ingest` without a difference stay. In the others, groups of entries are replaced or removed. New groups
make new work units.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pipelines.engine.state import EntryChanges
from pipelines.entries.entries import (
    Entry,
    Group,
    Signature,
    described,
    same_file,
    signature,
    stated,
    stated_by,
    to_line,
    without_rights,
)
from pipelines.entries.roots import Roots
from pipelines.errors import UserError
from pipelines.readers.base import Gone, Item, digest16
from pipelines.reading import read_ahead
from pipelines.sources.audio_files import contents
from pipelines.sources.gone import are_gone
from pipelines.sources.holdings import Held, Holdings, Line, Lines, name_of
from pipelines.sources.retries import Retries
from pipelines.sources.screen import Screen
from pipelines.sources.texts import with_text
from unitlang.grouping import grouped

CONTENT = ("offset_samples", "num_samples", "native", "channel")
"""Statements about an entry that decide, with the bytes of its file, what its audio is."""
UNKNOWN = (None, (None, None))
"""Signatures of files that cannot be looked at."""
BATCH = 256
"""Groups of which files are read side by side, if they must be read."""


@dataclass(frozen=True)
class Look:
    """A group whose files may have been replaced.

    Attributes:
        held: where the version holds it.
        group: the group as its source lists it.
        said: nothing else is said about it than before.
    """

    held: Held
    group: Group
    said: bool


class Following:
    """Compares the sources with a version, in the order `new`, `look`, `leave_out`.

    Args:
        holdings: what the version holds; receives the changes of its work units.
        roots: roots of the datasets.
        screen: leaves out what is suppressed.
        rehash: read all audio files again, whatever their signatures say.
        retries: rejects that are tried again.

    Attributes:
        changes: counts of entries; those that the version rejects count as `healed` if anything about them differs.
        gone: keys of the entries that no source lists any more and that stay, by their dataset in the version.
        retried: what differs of the entries that count as `healed` (`changed`, `mended`, or
            `kept` if they are only tried again), by their new keys.
    """

    def __init__(
        self,
        holdings: Holdings,
        roots: Roots,
        screen: Screen,
        *,
        rehash: bool = False,
        retries: Retries | None = None,
    ) -> None:
        self.changes = EntryChanges()
        self.gone: dict[str, list[str]] = {}
        self.retried: dict[str, str] = {}
        self._holdings = holdings
        self._missing = dict(holdings.groups)
        self._roots = roots
        self._screen = screen
        self._rehash = rehash
        self._retries = retries or Retries()
        for chunk in holdings.chunks if rehash else ():
            chunk.rights = True
        self._looks: list[Look] = []

    def new(self, groups: Iterable[Group], *, rights: bool = False) -> Iterator[Lines]:
        """Yield the lines of groups that the version does not hold; note which others differ.

        Args:
            groups: the groups of a source.
            rights: whether the config states rights for all of them.
        """
        for group, held, said in self._screened(groups, rights):
            if not group.entries:
                self._remove(held)
            elif held is None:
                self.changes.new += len(group.entries)
                yield self._lines(group)
            elif said:
                self._keep(held, group)
            else:
                self._mend(held, group)

    def _keep(self, held: Held, group: Group) -> None:
        """Note a group about which nothing else is said; its files may have been replaced."""
        signatures = [signature(entry) for entry in group.entries]
        if not self._retry(held, signatures):
            self._compare_signatures(held, group, signatures)

    def _mend(self, held: Held, group: Group) -> None:
        """Replace a group about which other things are said, or note that its files must be read first."""
        lines = self._lines(group)
        if self._has_the_same_files(held, lines):
            self._replace(held, lines, [False] * len(lines.lines))
        else:
            self._looks.append(Look(held, group, said=False))

    def _retry(self, held: Held, signatures: Sequence[Signature | None]) -> bool:
        """Plan a group with rejects anew if they are tried again; return whether there are any."""
        chunk = self._holdings.chunks[held.chunk]
        if not self._retries.keys or held in chunk.changed:
            return False
        old = self._holdings.lines(held)
        again = self._retries.again(old)
        tried = [json.loads(new)["key"] for new, line in zip(again, old, strict=True) if new != line]
        if not tried:
            return False
        chunk.changed[held] = Lines(again, signatures, chunk.rights)
        self.retried |= dict.fromkeys(tried, "kept")
        self.changes.healed += len(tried)
        self.changes.kept += held.count - len(tried)
        return True

    def _screened(self, groups: Iterable[Group], rights: bool) -> Iterator[tuple[Group, Held | None, bool]]:
        """Yield the groups without what is suppressed, what the version holds of them, and whether that says the same.

        The audio of a group about which nothing else is said than before was compared before.
        """
        for batch in grouped(groups, lambda batch, _: len(batch) >= BATCH):
            pairs = [(group, self._missing.pop(group.name, None)) for group in batch]
            said = [held is not None and self._says_the_same(held, group, rights) for group, held in pairs]
            looks = [same or not self._needs_look(*pair) for same, pair in zip(said, pairs, strict=True)]
            jobs = [partial(self._heard, *pair, rights) for pair, done in zip(pairs, looks, strict=True) if not done]
            found = read_ahead(jobs) if jobs else iter(())
            for pair, same, done in zip(pairs, said, looks, strict=True):
                yield (*pair, same) if done else next(found)

    def _needs_look(self, group: Group, held: Held | None) -> bool:
        return bool(self._screen.suppression.utterances) or (held is not None and self._holds_texts(held, group))

    def _holds_texts(self, held: Held, group: Group) -> bool:
        """Whether the version holds the texts of a group, as older programs did, and not the places of their files."""
        named = any(isinstance(entry, Item) and entry.text_file for entry in group.entries)
        return named and not any("text_file" in json.loads(line)["item"] for line in self._holdings.lines(held))

    def _heard(self, group: Group, held: Held | None, rights: bool) -> tuple[Group, Held | None, bool]:
        """As an element of `_screened`; texts that the version holds are compared with those of the files."""
        if held is not None and self._holds_texts(held, group):
            read = [with_text(entry) if isinstance(entry, Item) else entry for entry in group.entries]
            told = group._replace(entries=read)
            if self._says_the_same(held, told, rights):
                return told, held, True
        return self._screen.heard(group) if self._screen.suppression.utterances else group, held, False

    def _remove(self, held: Held | None) -> None:
        """Leave a group out of the next version, if the last one holds it."""
        if held is not None:
            self._holdings.chunks[held.chunk].changed[held] = None

    def _lines(self, group: Group, marks: Sequence[str | None] | None = None) -> Lines:
        marks = marks or [None] * len(group.entries)
        values = [self._described(entry) for entry in group.entries]
        lines = [
            to_line(entry, mark, without=group.without.get(position, ()))
            for position, (entry, mark) in enumerate(zip(values, marks, strict=True))
        ]
        return Lines(lines, [signature(entry) for entry in group.entries])

    def _described(self, entry: Entry) -> dict[str, object]:
        return described(entry, self._roots.get(entry.dataset))

    def _says_the_same(self, held: Held, group: Group, rights: bool) -> bool:
        """Compare with what is stored, also in the form of older programs: absolute paths, and sizes of files.

        Programs that did not read columns of rights had the same columns before them, so these are no news.
        """
        if held.stated == stated_by(group.entries, self._roots) or self._says_with_size(held, group.entries):
            return True
        if rights or self._holdings.chunks[held.chunk].rights:
            return False
        plain = [without_rights(entry) for entry in group.entries]
        return held.stated == stated_by(plain, self._roots) or self._says_with_size(held, plain)

    def _says_with_size(self, held: Held, entries: Sequence[Entry]) -> bool:
        """Compare with what is stored in the form of a program that took sizes for a part of what is said."""
        return held.stated == stated(entry.stated() for entry in entries)

    def _has_the_same_files(self, held: Held, lines: Lines) -> bool:
        """Return whether each entry of a group is known to have the file that it had, without reading any."""
        before = self._holdings.files(held)
        for text, now in zip(lines.lines, lines.signatures, strict=True):
            item = json.loads(text)["item"]
            uri, signed = before.get(name_of(item), (None, None))
            if uri is not None and (
                self._rehash or now in UNKNOWN or uri != item.get("uri") or not same_file(signed, now)
            ):
                return False
        return True

    def _replace(self, held: Held, lines: Lines, other_bytes: Sequence[bool]) -> None:
        """Replace a group, and count its entries by what differs.

        Args:
            held: where the version holds it.
            lines: its new lines.
            other_bytes: of each line, whether its file has other bytes than before.
        """
        self._holdings.chunks[held.chunk].changed[held] = lines
        before = self._holdings.lines_by_name(held)
        for text, other in zip(lines.lines, other_bytes, strict=True):
            line = json.loads(text)
            old = before.pop(name_of(line["item"]), None)
            if old is None:
                self.changes.new += 1
            else:
                self._count(held, old, line, other)
        self.changes.removed += len(before)

    def _count(self, held: Held, old: Line, line: Line, other_bytes: bool) -> None:
        """Count an entry of a replaced group."""
        content = other_bytes or any(old["item"].get(name) != line["item"].get(name) for name in CONTENT)
        if not content and old["item"] == line["item"]:
            self.changes.kept += 1
            return
        what = "changed" if content else "mended"
        if line["kind"] == "item" and self._holdings.rejects(held, old):
            self.retried[line["key"]] = what
            what = "healed"
        setattr(self.changes, what, getattr(self.changes, what) + 1)

    def _compare_signatures(self, held: Held, group: Group, signatures: Sequence[Signature | None]) -> None:
        older = self._holdings.chunks[held.chunk].older and not self._rehash
        before = self._holdings.signatures(held)
        if older and any(
            self._says_with_size(held, entries)
            for entries in (group.entries, [without_rights(entry) for entry in group.entries])
        ):
            self._holdings.sign(held, signatures)  # the size was a part of what is said
        elif self._rehash or not all(map(same_file, before, signatures)):
            self._looks.append(Look(held, group, said=True))
            return
        elif before != list(signatures):
            self._holdings.sign(held, signatures)
        self.changes.kept += held.count

    def look(self) -> None:
        """Read the files that may have been replaced; entries whose audio has other contents are replaced.

        A file that cannot be read is that of a gone entry: its row stays, unless something else is said about it.
        """
        known: dict[int, dict[str, str]] = {}
        reads = (partial(contents, look.group.entries) for look in self._looks)
        for look, found in zip(self._looks, read_ahead(reads), strict=True):
            number = look.held.chunk
            if number not in known:
                known = {number: self._holdings.checksums(self._holdings.chunks[number])}
            if look.said:
                self._compare_contents(look, found, known[number])
            else:
                self._compare_all(look, found, known[number])

    def _compare_contents(self, look: Look, found: Sequence[str | None], known: Mapping[str, str]) -> None:
        """Replace a group if a file has other bytes.

        Args:
            look: the group, about which nothing else is said.
            found: SHA-256 of each file; None if it cannot be read.
            known: those of the version, by the keys of their lines.
        """
        lines = [json.loads(line) for line in self._holdings.lines(look.held)]
        before = [line.get("content") or known.get(line["key"]) for line in lines]
        marks = [old if now is None else now for old, now in zip(before, found, strict=True)]
        if marks == before:
            self.changes.kept += look.held.count
            self._holdings.sign(look.held, [signature(entry) for entry in look.group.entries])
        else:
            self._replace_heard(look, marks, [mark != old for mark, old in zip(marks, before, strict=True)])

    def _replace_heard(self, look: Look, marks: Sequence[str | None], other_bytes: Sequence[bool]) -> None:
        """Replace a group with other audio by what of it is not suppressed; all arguments are by its entries."""
        heard = self._screen.heard(look.group)
        if not heard.entries:
            self._remove(look.held)
            return
        names = [entry.utterance_id for entry in look.group.entries]
        facts = dict(zip(names, zip(marks, other_bytes, strict=True), strict=True))
        marked = [facts[entry.utterance_id] for entry in heard.entries]
        self._replace(look.held, self._lines(heard, [mark for mark, _ in marked]), [other for _, other in marked])

    def _compare_all(self, look: Look, found: Sequence[str | None], known: Mapping[str, str]) -> None:
        """Replace a group about which other things are said; arguments as of `_compare_contents`."""
        before = self._holdings.lines_by_name(look.held)
        lines = self._lines(look.group)
        old = [before.get(name_of(json.loads(line)["item"]), {"key": ""}) for line in lines.lines]
        contents_before = [line.get("content") or known.get(line["key"]) for line in old]
        self._replace(look.held, lines, [now != was for now, was in zip(found, contents_before, strict=True)])

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
            lines = self._holdings.renamed_lines(held)
            items = [line["item"] for line in lines]
            dataset = items[0]["dataset"]
            names = [item["utterance_id"] for item in items if item["utterance_id"]]
            policy = "remove" if held.bad else policies.get(dataset, default)
            if policy == "fail":
                failing[dataset] += held.count
                examples += names[:1]
            elif policy == "keep" and not any(digest16(name) in ids for name in names):
                kept = self._kept(held, lines)
                self.changes.gone += len(kept)
                self.changes.removed += held.count - len(kept)
                self.gone.setdefault(dataset, []).extend(kept)
            else:
                self.changes.removed += held.count
                self._remove(held)
        if failing:
            raise UserError(are_gone(failing, examples, policies))

    def _kept(self, held: Held, renamed: Sequence[Line]) -> list[str]:
        """Keep a gone group, under the new name of its dataset if that has one; return the keys of its lines.

        Rejects of a dataset with a new name go, because their files, which are not there, cannot be tried again.
        """
        lines = self._holdings.lines(held)
        if all(json.loads(old)["item"] == new["item"] for old, new in zip(lines, renamed, strict=True)):
            return [line["key"] for line in renamed]
        signed = zip(renamed, self._holdings.signatures(held), strict=True)
        pairs = [(line, signature) for line, signature in signed if not self._holdings.rejects(held, line)]
        made = [to_line(line["item"], was=line["key"], without=line.get("without", ())) for line, _ in pairs]
        chunk = self._holdings.chunks[held.chunk]
        chunk.changed[held] = Lines(made, [signature for _, signature in pairs], chunk.rights) if made else None
        return [json.loads(line)["key"] for line in made]
