"""All suppression lists of a store together."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from storage.store import Store
from storage.suppression.lists import Suppressed, list_names, read_list


@dataclass(frozen=True)
class Suppression:
    """All that is suppressed in a store.

    Attributes:
        lists: names of the lists, in alphabetical order.
        utterances: what they hold.
    """

    lists: tuple[str, ...] = ()
    utterances: tuple[Suppressed, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, store: Store) -> Self:
        """Read the lists of a store.

        Raises:
            StorageError: a list is damaged, or the store does not answer.
        """
        names = sorted(list_names(store))
        held = [utterance for name in names for utterance in read_list(store, name).utterances]
        return cls(tuple(names), tuple(dict.fromkeys(held)))

    @cached_property
    def ids(self) -> frozenset[str]:
        """Digests of ids."""
        return self._all("id")

    @cached_property
    def split(self) -> frozenset[str]:
        """Digests of the ids of entries of which only some channels are suppressed."""
        return self._all("part_of")

    @cached_property
    def audios(self) -> frozenset[str]:
        """Digests of checksums of files."""
        return self._all("audio")

    @cached_property
    def contents(self) -> frozenset[str]:
        """Digests of contents."""
        return self._all("content")

    @cached_property
    def texts(self) -> frozenset[str]:
        """Digests of texts."""
        return self._all("text")

    @cached_property
    def flacs(self) -> frozenset[str]:
        """Digests of FLAC in training shards."""
        return self._all("flac")

    @cached_property
    def sizes(self) -> frozenset[int]:
        """Sizes in bytes of the files of suppressed audio, as far as they are known."""
        return frozenset(found.size for found in self.utterances if found.size is not None)

    @cached_property
    def any_size(self) -> bool:
        """Whether the file of some suppressed audio may have any size."""
        return any(found.audio is not None and found.size is None for found in self.utterances)

    def _all(self, name: str) -> frozenset[str]:
        return frozenset(value for found in self.utterances if (value := getattr(found, name)) is not None)

    def lacks(self, utterances: Iterable[Suppressed]) -> list[Suppressed]:
        """Those of the utterances whose id or content is not suppressed yet, in the order of their digests."""
        found = {u for u in utterances if u.id not in self.ids or (u.content is not None and not self._holds(u))}
        return sorted(found, key=lambda utterance: (utterance.id, utterance.content or ""))

    def _holds(self, utterance: Suppressed) -> bool:
        return utterance.content in self.contents
