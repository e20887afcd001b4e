"""Entries of sources as lines of the work units of `ingest`, in groups that stay together.

A group is a dialogue, or one single entry. It has a name that depends on what the source calls it, never on what the
source says about it, so that a corpus can follow its sources.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from json.encoder import encode_basestring_ascii
from types import MappingProxyType
from typing import Any, NamedTuple

from pipelines.entries.canonical import as_json
from pipelines.entries.roots import Roots, relative
from pipelines.readers.base import BadItem, Item, digest16
from pipelines.readers.places import Place
from pipelines.readers.rows.names import ACCEPTED

Entry = Item | BadItem
Dialogue = tuple[str, str]
"""Dataset and dialogue id."""
Signature = tuple[int | None, int | str | None]
"""Size in bytes of the audio file of an entry, and its time of change in ns on a disk, or its stamp in a bucket.

None stands for what the listing does not know."""
KINDS: Mapping[str, type[Entry]] = {"item": Item, "bad": BadItem}
"""Classes of entries by the `kind` of their line."""


OF_THE_LISTING = ("uri", "size", "stamp", "native", "text_file", "text_stamp", "place")
"""Attributes of an `Item` that are no columns of its utterance."""


class Group(NamedTuple):
    """A dialogue, or one single entry.

    Attributes:
        name: digest of its identity.
        entries: in the order of the source.
        without: suppressed channels of entries with others, by position.
    """

    name: bytes
    entries: Sequence[Entry]
    without: Mapping[int, Sequence[int]] = MappingProxyType({})


class Admission:
    """Decides what the entries of all sources become: ids are unique, and an entry that its source repeats is a reject.

    What it decides depends on the listings alone.

    Args:
        roots: roots of the datasets, which the names of broken entries without an id start from.
        allows: whether an entry may be in the corpus at all; None allows all.
        several: whether there are several sources, which may list the same entries.
    """

    def __init__(
        self,
        roots: Roots = MappingProxyType({}),
        allows: Callable[[Entry], bool] | None = None,
        *,
        several: bool = True,
    ) -> None:
        self._allows = allows
        self._several = several
        self.ids: set[bytes] = set()
        self.names = Names()
        self._roots = roots
        self._listed: dict[bytes, int] = {}
        self._source = 0

    def groups(self, entries: Iterable[Entry]) -> Iterator[Group]:
        """Yield the groups of the next source; entries that an earlier source listed too are left out."""
        self._source += 1
        for dialogue in entry_dialogues(entries):
            admitted = self._admit(dialogue)
            if admitted:
                first = admitted[0]
                yield Group(self.names.name(identity(first, self._roots.get(first.dataset))), admitted)

    def _admit(self, dialogue: Sequence[Entry]) -> Sequence[Entry]:
        """The entries of a dialogue; if the id of one is taken, all become rejects."""
        selects = self._several or self._allows is not None
        admitted = remaining(dialogue, self._is_admitted) if selects else dialogue
        digests = [digest16(entry.utterance_id) for entry in admitted if entry.utterance_id]
        if not self.ids.isdisjoint(digests):
            return [_duplicate(entry) if isinstance(entry, Item) else entry for entry in admitted]
        self.ids.update(digest16(entry.utterance_id) for entry in admitted if isinstance(entry, Item))
        return admitted

    def _is_admitted(self, entry: Entry) -> bool:
        return (self._allows is None or self._allows(entry)) and (not self._several or self._is_first(entry))

    def _is_first(self, entry: Entry) -> bool:
        """Whether no earlier source listed an entry."""
        return self._listed.setdefault(entry.key(), self._source) == self._source


def identity(first: Entry, root: str | None) -> bytes:
    """Digest of what names a group, by its first entry; `root` is that of its dataset."""
    dialogue = dialogue_of(first)
    place = dialogue or first.utterance_id or (relative(first.source, root) if isinstance(first, BadItem) else None)
    return digest16(encode_basestring_ascii(place) if isinstance(place, str) else json.dumps(place))


class Names:
    """Names of groups: digests of the dialogue, of the utterance id, or of the place of a broken entry.

    The second group that has the same one, the third and so on, have names of their own.
    """

    def __init__(self) -> None:
        self._times: dict[bytes, int] = {}

    def name(self, name: bytes) -> bytes:
        """The name of the next group, by the identity of its first entry."""
        times = self._times[name] = self._times.get(name, 0) + 1
        return name if times == 1 else digest16(f"{name.hex()} {times}")


def remaining(group: Sequence[Entry], stays: Callable[[Entry], bool]) -> list[Entry]:
    """The entries of a group that stay; turns without numbers, of which some before them go, keep their places."""
    found: list[Entry] = []
    for position, entry in enumerate(group):
        if stays(entry):
            found.append(entry if position == len(found) else at_place(entry, position))
    return found


def at_place(entry: Entry, position: int) -> Entry:
    """The entry with its position in its dialogue, if neither its source nor an earlier look states one."""
    if not isinstance(entry, Item) or entry.dialogue_id is None or entry.turn is not None or entry.place is not None:
        return entry
    return replace(entry, place=position)


def _duplicate(item: Item) -> BadItem:
    what = "entry" if item.dialogue_id is None else "turn of this dialogue"
    return BadItem(
        source=item.uri or item.utterance_id,
        dataset=item.dataset,
        reason="duplicate_id",
        message=f"another {what} has this id; rename one of them",
        utterance_id=item.utterance_id,
        dialogue_id=item.dialogue_id,
    )


def described(entry: Entry, root: str | None) -> dict[str, Any]:
    """A source's statements about an entry, with paths from the root on and without the size of the file."""
    values = entry.stated()
    if isinstance(entry, Item):
        del values["size"]
        if entry.uri is not None:
            values["uri"] = relative(entry.uri, root)
        if entry.text_file is not None:
            values["text_file"] = relative(entry.text_file, root)
    elif root is not None:
        values["source"] = relative(entry.source, root)
        values["message"] = entry.message.replace(f"{root}/", "")
    return values


def without_rights(entry: Entry) -> Entry:
    """The entry as a program that reads nothing about rights describes it."""
    return entry if isinstance(entry, BadItem) else replace(entry, **dict.fromkeys(ACCEPTED))


def to_line(
    values: Mapping[str, Any],
    content: str | None = None,
    tried_after: int | None = None,
    *,
    without: Sequence[int] = (),
    was: str | None = None,
) -> str:
    """An entry as a line of a work unit; its place is no part of its key, so that its rows are taken over.

    Args:
        values: the described entry.
        content: SHA-256 of its audio, if the file was replaced since the entry was ingested first.
        tried_after: the last version that rejected the entry, if it is tried again although nothing has changed.
        without: its suppressed channels; no part of the key, so that its rows are taken over.
        was: key of the line under an earlier name of the dataset, whose rows are taken over, for the file is gone.
    """
    kind = "bad" if "reason" in values else "item"
    marks = {"content": content, "tried_after": tried_after}
    marked = {"item": values} | {name: mark for name, mark in marks.items() if mark is not None}
    known = marked | {"item": {name: value for name, value in values.items() if name != "place"}}
    key = digest16(json.dumps(known, sort_keys=True)).hex()
    left = ({"without": sorted(without)} if without else {}) | ({"was": was} if was else {})
    return json.dumps({"kind": kind, "key": key, **marked, **left}, sort_keys=True)


def from_line(line: Mapping[str, Any]) -> Entry:
    """The entry of a line, as `described`."""
    return KINDS[line["kind"]](**line["item"])


def stated(values: Iterable[Mapping[str, Any]]) -> bytes:
    """Digest of what is said about the entries of a group."""
    return digest16("\n".join(json.dumps(described, sort_keys=True) for described in values))


def stated_by(entries: Iterable[Entry], roots: Roots) -> bytes:
    """`stated` of entries as a source lists them."""
    return digest16("\n".join([_described_json(entry, roots.get(entry.dataset)) for entry in entries]))


def _described_json(entry: Entry, root: str | None) -> str:
    return as_json(entry, root) if isinstance(entry, Item) else json.dumps(described(entry, root), sort_keys=True)


def signature(entry: Entry) -> Signature | None:
    """Signature that tells without reading whether the audio file of an entry was replaced; None without audio."""
    if not isinstance(entry, Item) or entry.uri is None:
        return None
    file = entry.uri.partition("#row=")[0]
    try:
        version = None if "://" in file else Place.of(file).version()
    except OSError:
        return None, None
    return version or (entry.size, entry.stamp)


def same_file(before: Signature | None, now: Signature | None) -> bool:
    """Whether signatures tell no change; older programs knew no stamps, and size alone must do for their files."""
    return before == now or (before is not None and now is not None and before == (now[0], None))


def entry_dialogues(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield the consecutive entries of each dialogue as one list, and each single entry as a list of one.

    A repeated utterance id starts another list: the source uses the name of the dialogue twice by mistake.
    """
    group: list[Entry] = []
    seen: set[str] = set()
    for entry in entries:
        if not group and entry.dialogue_id is None:
            yield [entry]
            continue
        dialogue, name = dialogue_of(entry), entry.utterance_id
        if group and (dialogue is None or dialogue != dialogue_of(group[-1]) or name in seen):
            yield group
            group, seen = [], set()
        group.append(entry)
        seen.update([name] if name else [])
    if group:
        yield group


def dialogue_of(entry: Entry) -> Dialogue | None:
    """The dialogue of an entry, if any; dialogue ids are unique only within a dataset."""
    return None if entry.dialogue_id is None else (entry.dataset, entry.dialogue_id)
