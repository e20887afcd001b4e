"""Words of the unit language that came and went between two versions."""

from collections.abc import Mapping

import numpy as np
from typing_extensions import TypedDict

from pipelines.build.statistics import from_version, overall
from pipelines.steps.fit_unit_language import load_unit_language
from storage.store import Store
from storage.versions import Version

SHOWN_WORDS = 10
"""Most examples of words."""


class WordCount(TypedDict):
    """A word as text, and how often it occurs in the corpus version whose vocabulary has it."""

    word: str
    count: int


class WordChanges(TypedDict):
    """Words of two vocabularies over the same units; examples are the most frequent ones.

    Attributes:
        came: number of words that only the later vocabulary has.
        went: number of words that only the earlier one has.
        stayed: number of words in both.
    """

    came: int
    went: int
    stayed: int
    most_frequent_came: list[WordCount]
    most_frequent_went: list[WordCount]


def word_changes(before: tuple[Store, Version], after: tuple[Store, Version]) -> WordChanges | None:
    """Compare the vocabularies of two versions; None if their units are of different quantizers.

    Raises:
        StorageError: a unit language cannot be read.
    """
    if before[1].artifact("quantizer").fingerprint != after[1].artifact("quantizer").fingerprint:
        return None
    old, new = _counts(*before), _counts(*after)
    return WordChanges(
        came=len(new.keys() - old.keys()),
        went=len(old.keys() - new.keys()),
        stayed=len(old.keys() & new.keys()),
        most_frequent_came=_most_frequent(new, old),
        most_frequent_went=_most_frequent(old, new),
    )


def _counts(store: Store, version: Version) -> dict[str, int]:
    """Occurrences of each word of the vocabulary, without `<unk>`."""
    language = load_unit_language(store, version.artifact("unit_language").fingerprint)
    counts = overall(from_version(version.statistics)).compression.word_counts_V
    return dict(zip(language.words(np.arange(1, language.vocab_size)), counts[1:].tolist(), strict=True))


def _most_frequent(counts: Mapping[str, int], others: Mapping[str, int]) -> list[WordCount]:
    own = sorted((-count, word) for word, count in counts.items() if word not in others)
    return [WordCount(word=word, count=-count) for count, word in own[:SHOWN_WORDS]]
