"""All suppression lists of a store together."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Self

from storage.store import Store
from storage.suppression.lists import Suppressed, digest_of, list_names, read_list
from storage.suppression.names import Names, under


@dataclass(frozen=True)
class Suppression:
    """All that is suppressed in a store.

    Attributes:
        lists: names of the lists, in alphabetical order.
        utterances: what they hold.
        by_list: the same by list.
        earlier: earlier names of datasets, and what lists hold of each; see `known_as`.
    """

    lists: tuple[str, ...] = ()
    utterances: tuple[Suppressed, ...] = field(default=(), repr=False)
    by_list: Mapping[str, tuple[Suppressed, ...]] = field(default_factory=dict[str, tuple[Suppressed, ...]], repr=False)
    earlier: Mapping[str, Mapping[str, "Suppression"]] = field(
        default_factory=dict[str, "Mapping[str, Suppression]"], repr=False
    )

    @classmethod
    def of(cls, store: Store) -> Self:
        """Read the lists of a store.

        Raises:
            StorageError: a list is damaged, or the store does not answer.
        """
        return cls.merged({name: read_list(store, name).utterances for name in sorted(list_names(store))})

    @classmethod
    def merged(cls, by_list: Mapping[str, tuple[Suppressed, ...]]) -> Self:
        """The contents of several lists together."""
        return cls(tuple(by_list), tuple(dict.fromkeys(chain.from_iterable(by_list.values()))), by_list)

    def known_as(self, names: Names) -> Self:
        """The same for datasets that had other names: their ids are looked up under these, too."""
        return replace(
            self,
            earlier={
                dataset: {old: self._of_lists(lists) for old, lists in of.items()} for dataset, of in names.items()
            },
        )

    def _of_lists(self, names: Iterable[str]) -> "Suppression":
        return self.merged({name: self.by_list[name] for name in names if name in self.by_list})

    def withdraws(self, name: str) -> bool:
        """Whether an utterance or an entry of this id is suppressed."""
        return any(digest in held.ids for digest, held in self._lookups(name))

    def splits(self, name: str) -> bool:
        """Whether some channels of the entry of this id are suppressed."""
        return any(digest in held.split for digest, held in self._lookups(name))

    def _lookups(self, name: str) -> "Iterator[tuple[str, Suppression]]":
        if not self.utterances:
            return
        yield digest_of(name), self
        for old, held in self.earlier.get(name.partition("/")[0], {}).items():
            yield digest_of(under(name, old)), held

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
