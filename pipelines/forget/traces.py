"""Traces of forgotten speech in single values: ids, texts, and audio, by digests or by the ids themselves."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Self

from pipelines.errors import UserError
from pipelines.records import earlier_names_of, new_names_of
from pipelines.steps.ingest import normalise_text
from storage.store import Store
from storage.suppression.lists import Suppressed, digest_of, list_names, read_list
from storage.suppression.merged import Suppression
from storage.suppression.names import known_names
from storage.versions import latest

PARTS = re.compile(r"[^\s\"'<>,;()\[\]{}=|&]+")
"""Parts of a longer text that may be an id, for instance in a message."""
ROLE = re.compile(r"^\w+: ", re.MULTILINE)
"""Beginning of a turn in the prompt of a dialogue."""


@dataclass(frozen=True)
class Traces:
    """Traces that forgotten speech may have left.

    Attributes:
        digests: what the suppression lists say of it.
        odd_ids: ids that a person named and that no part of a longer text can be, because of a space for instance.
        since: when the newest of its lists was written, UTC, ISO 8601; empty without a list.
        said_by_others: digests of those of its texts that others say too, which therefore prove nothing.
    """

    digests: Suppression
    odd_ids: frozenset[str] = frozenset()
    since: str = ""
    said_by_others: frozenset[str] = frozenset()

    @classmethod
    def of(cls, store: Store, ids: Collection[str] | None = None) -> Self:
        """The traces of all that is suppressed in a store, or of some ids.

        Texts and audio of an id are known by the suppression lists alone.

        Raises:
            UserError: all is asked for, and nothing is suppressed.
            StorageError: a list cannot be read.
        """
        lists = {name: read_list(store, name) for name in sorted(list_names(store))}
        if ids is None and not lists:
            raise UserError(f"{store.uri}: nothing is suppressed; name ids with --absent FILE")
        version = latest(store)
        named = known_names(ids or (), new_names_of(version) if version else {})
        wanted = None if ids is None else set(map(digest_of, named))
        by_list = {
            name: tuple(one for one in held.utterances if wanted is None or one.id in wanted)
            for name, held in lists.items()
        }
        since = max((lists[name].created for name, of_list in by_list.items() if of_list), default="")
        digests = Suppression.merged(by_list).known_as(earlier_names_of(version) if version else {})
        given = tuple(Suppressed(id=name) for name in sorted(wanted or ()))
        odd = frozenset(name for name in named if not PARTS.fullmatch(name))
        return cls(replace(digests, utterances=(*given, *digests.utterances)), odd, since)

    def besides(self, said_by_others: Collection[str]) -> "Traces":
        """The traces without the texts that others say too."""
        return replace(self, said_by_others=frozenset(said_by_others))

    def in_text(self, text: str) -> Iterator[str]:
        """Yield `id` and `text` if a text is one or holds one."""
        if self._names(text):
            yield "id"
        if self.says(text):
            yield "text"

    def _names(self, text: str) -> bool:
        """Whether a text, or a part of it, is an id."""
        whole = any(self.digests.withdraws(part) for part in self._parts(text))
        return whole or any(name in text for name in self.odd_ids)

    def _parts(self, text: str) -> Iterator[str]:
        yield text
        for part in PARTS.findall(text):
            yield part
            yield part.rstrip(".:!?")

    def says(self, text: str) -> bool:
        """Whether a text, or a turn of a dialogue in it, is a forgotten one that no other utterance has."""
        if not self.digests.texts:
            return False
        said = (normalise_text(turn) for turn in (text, *ROLE.split(text), *text.splitlines()))
        digests = {digest_of(turn) for turn in said if turn}
        return not digests.isdisjoint(self.digests.texts - self.said_by_others)

    def in_bytes(self, data: bytes) -> bool:
        """Whether bytes are the forgotten audio, as its file was or as the training shards had it."""
        digest = sha256(data).hexdigest()
        return digest in self.digests.flacs or digest_of(digest) in self.digests.audios

    def in_values(self, values: Any) -> Iterator[str]:
        """Yield the traces in JSON values, at any depth."""
        if isinstance(values, str):
            yield from self.in_text(values)
        elif isinstance(values, Mapping):
            for name, value in values.items():
                yield from self.in_text(str(name))
                yield from self.in_values(value)
        elif isinstance(values, Sequence) and not isinstance(values, bytes):
            for value in values:
                yield from self.in_values(value)
        elif isinstance(values, bytes) and self.in_bytes(values):
            yield "audio"
